import { createHash, randomUUID } from 'node:crypto';
import { copyFile, mkdir, open, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type CheckpointReader, companionsAt, openCheckpoint, writeShardIndex } from '../../checkpoints';
import { encodeFloats, FLOAT16_MAX, transposed } from '../../numbers';
import { QuantloomError } from '../../spec';
import { asStoreFull, freeBytes, withLock } from '../../store';
import { isCompanion } from '../companions';
import { type DenseFile, type DenseTensor, layoutDense } from './dense-layout';

export interface DenseOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: {
    readonly file: string;
    readonly bytes: number;
    readonly totalBytes: number;
  }) => void;
}

/** Raised when the same input would give other bytes. */
const VERSION = 1;
/** Left free on the disk. */
const SPARE_BYTES = 1 << 26;

/**
 * Where the dense copy of a checkpoint is kept: the directory is named after what the checkpoint is.
 *
 * @param identity of its content; default: its files by name, size and date.
 */
export async function denseDirectory(path: string, models: string, identity?: string): Promise<string> {
  const what = identity ?? JSON.stringify([path, ...(await filesOf(path))]);
  const key = createHash('sha256').update(`${VERSION}\n${what}`).digest('hex').slice(0, 32);
  return join(models, 'dense', key, basename(path).replace(/\.gguf$/i, ''));
}

/** The same directory with headers only, holes in place of weights: what a plan is made from. */
export async function previewDense(path: string, directory: string): Promise<string> {
  if (await isThere(directory)) return directory;
  const preview = join(dirname(directory), `.${basename(directory)}.preview`);
  if (await isThere(preview)) return preview;
  const unfinished = `${preview}.${randomUUID()}`;
  await write(path, unfinished, async (_, { header, fileBytes }, file) => {
    const handle = await open(file, 'w');
    try {
      await handle.writeFile(header);
      await handle.truncate(fileBytes);
    } finally {
      await handle.close();
    }
  });
  await rename(unfinished, preview).catch(async (error) => {
    await rm(unfinished, { recursive: true });
    // Somebody else was quicker, with the same.
    if (!(await isThere(preview))) throw error;
  });
  return preview;
}

/**
 * Writes the dense model that a checkpoint stands for, as a directory of safetensors with its tokenizer: file by file, so that what
 * is finished is not done again; the directory has its name when everything is in it. Memory is bounded by one tensor.
 *
 * @throws QuantloomError StoreFull, InvalidCheckpoint, UnsupportedInput.
 */
export async function makeDenseCopy(path: string, directory: string, options: DenseOptions = {}): Promise<void> {
  if (await isThere(directory)) return;
  await mkdir(dirname(directory), { recursive: true });
  const beside = (what: string) => join(dirname(directory), `.${basename(directory)}.${what}`);
  const work = async () => {
    if (await isThere(directory)) return;
    const partial = beside('partial');
    let done = 0;
    const { mtime } = await stat(path);
    await write(path, partial, async (reader, file, to, totalBytes) => {
      options.signal?.throwIfAborted();
      const found = await stat(to).catch(() => null);
      if (found?.size !== file.fileBytes) {
        if (done === 0) await checkRoom(partial, totalBytes);
        await writeFileOf(reader, file, to, options.signal);
        // It is as old as what it was made from.
        await utimes(to, mtime, mtime);
      }
      done += file.fileBytes;
      options.onProgress?.({ file: file.name, bytes: done, totalBytes });
    });
    await rename(partial, directory);
    await rm(beside('preview'), { recursive: true, force: true });
  };
  await withLock(beside('lock'), work, options.signal);
}

type WriteWeights = (reader: CheckpointReader, file: DenseFile, path: string, totalBytes: number) => Promise<void>;

async function write(path: string, directory: string, weights: WriteWeights): Promise<void> {
  const reader = await openCheckpoint(path);
  const { files, config } = await layoutDense(reader);
  const totalBytes = files.reduce((sum, { fileBytes }) => sum + fileBytes, 0);
  await mkdir(directory, { recursive: true });
  for (const file of files) await weights(reader, file, join(directory, file.name), totalBytes);
  await writeShardIndex(
    directory,
    files.map(({ name }) => name),
  );
  await writeFile(join(directory, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
  const from = (await stat(path)).isDirectory() ? path : dirname(path);
  const beside = (await readdir(from)).filter(isCompanion);
  // What lies beside the weights says it better than they do.
  const own = beside.includes('tokenizer.json') ? new Map<string, string>() : await companionsAt(path);
  for (const [name, content] of own) await writeFile(join(directory, name), content);
  for (const name of beside) await copyFile(join(from, name), join(directory, name));
}

async function writeFileOf(
  reader: CheckpointReader,
  file: DenseFile,
  path: string,
  signal?: AbortSignal,
): Promise<void> {
  const handle = await open(`${path}.part`, 'w');
  try {
    await handle.writeFile(file.header);
    for (const name of file.order) {
      signal?.throwIfAborted();
      await handle.writeFile(await bytesOf(name, file.tensors.get(name) as DenseTensor, reader));
    }
    await handle.sync();
  } catch (error) {
    throw await asStoreFull(error, dirname(path), file.fileBytes);
  } finally {
    await handle.close();
  }
  await rename(`${path}.part`, path);
}

async function bytesOf(name: string, tensor: DenseTensor, reader: CheckpointReader): Promise<Uint8Array> {
  if (!tensor.quantized) return (await reader.stored(name)).data;
  const { data, shape } = await reader.float(name);
  const dtype = tensor.dtype as 'F32' | 'F16' | 'BF16';
  if (dtype === 'F16') {
    const beyond = data.find((value) => Math.abs(value) > FLOAT16_MAX);
    if (beyond !== undefined) {
      throw new QuantloomError(
        'UnsupportedInput',
        `${name} has the weight ${beyond}, beyond float16, which it would be dequantized to. Set "torch_dtype": "bfloat16" in config.json.`,
      );
    }
  }
  return encodeFloats(tensor.transposed ? transposed(data, shape[1] as number) : data, dtype);
}

async function checkRoom(directory: string, bytesNeeded: number): Promise<void> {
  const free = await freeBytes(directory);
  if (free === null || free >= bytesNeeded + SPARE_BYTES) return;
  throw new QuantloomError(
    'StoreFull',
    `The dequantized model takes ${bytesNeeded} bytes in ${directory}, and ${free} are free. Free space there, or name another place (QUANTLOOM_MODELS).`,
    { retryable: true, details: { directory, bytesNeeded, bytesFree: free } },
  );
}

/** A file and what may stand beside it, or the files of a directory: name, size, date. */
async function filesOf(path: string): Promise<readonly unknown[]> {
  const isDirectory = (await stat(path)).isDirectory();
  const directory = isDirectory ? path : dirname(path);
  const names = (await readdir(directory)).filter(
    (name) => isDirectory || name === basename(path) || name === 'config.json' || isCompanion(name),
  );
  const found: unknown[] = [];
  for (const name of names.sort()) {
    const { size, mtimeMs } = await stat(join(directory, name));
    found.push([name, size, mtimeMs]);
  }
  return found;
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
