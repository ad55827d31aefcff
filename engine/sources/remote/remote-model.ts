import { copyFile, mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { QuantloomError } from '../../spec';
import { freeBytes, withLock } from '../../store';
import { type DownloadOptions, downloadFile } from './download-file';
import type { ModelSource, RemoteFile } from './model-source';
import { sourceOf } from './model-sources';
import { neededFiles } from './needed-files';
import type { SourceAccess } from './source-access';

export interface FetchOptions extends Pick<DownloadOptions, 'signal' | 'backoffMilliseconds'> {
  readonly onProgress?: (progress: {
    readonly file: string;
    readonly bytes: number;
    readonly totalBytes: number;
  }) => void;
}

/** The length of a safetensors header, and all of most of them. */
const FIRST_BYTES = 1 << 17;
/** Left free on a disk that models are fetched to. */
const SPARE_BYTES = 1 << 26;
const MAX_HEADER_BYTES = 100_000_000;

/** The directory that a pinned address is fetched to. */
export function remoteDirectory(pinned: string, access: SourceAccess): string {
  return join(access.models, source(pinned).folder(pinned));
}

/**
 * The address of what is there now, for good. When the place cannot be reached, what it said the last time.
 *
 * @throws QuantloomError.
 */
export async function pinAddress(address: string, access: SourceAccess, signal?: AbortSignal): Promise<string> {
  const place = source(address);
  if (place.isPinned(address)) return place.pin(address, access, signal);
  const note = join(access.models, 'pins', encodeURIComponent(address));
  try {
    const pinned = await place.pin(address, access, signal);
    await mkdir(dirname(note), { recursive: true });
    await writeFile(`${note}.${process.pid}`, pinned);
    await rename(`${note}.${process.pid}`, note);
    return pinned;
  } catch (error) {
    const known =
      QuantloomError.is(error) &&
      error.code === 'SourceUnavailable' &&
      (await readFile(note, 'utf8').catch(() => null));
    if (known && (await isThere(remoteDirectory(known, access)))) return known;
    throw error;
  }
}

/**
 * A directory that looks like the model and takes no room: config and tokenizer, and of the weights their headers; what is behind them is
 * a hole. The model's own directory where it has been fetched.
 *
 * @throws QuantloomError.
 */
export async function previewRemote(pinned: string, access: SourceAccess, options: FetchOptions = {}): Promise<string> {
  const directory = remoteDirectory(pinned, access);
  if (await isThere(directory)) return directory;
  const preview = beside(directory, 'preview');
  if (await isThere(preview)) return preview;
  await mkdir(dirname(directory), { recursive: true });
  return withLock(beside(directory, 'lock'), () => makePreview(pinned, access, options), options.signal);
}

/**
 * Fetches a model's files, and only those that are needed. What is there is not fetched again, be it half a file; the directory has its
 * name when everything is in it.
 *
 * @returns the directory.
 * @throws QuantloomError.
 */
export async function fetchRemote(pinned: string, access: SourceAccess, options: FetchOptions = {}): Promise<string> {
  const directory = remoteDirectory(pinned, access);
  if (await isThere(directory)) return directory;
  await mkdir(dirname(directory), { recursive: true });
  const work = async () => {
    if (await isThere(directory)) return directory;
    const preview = await makePreview(pinned, access, options);
    const partial = beside(directory, 'partial');
    await mkdir(partial, { recursive: true });
    const { weights, others } = await needed(pinned, access, options);
    const totalBytes = sum([...weights, ...others]);
    await checkRoom(partial, weights);
    let before = 0;
    for (const file of [...others, ...weights]) {
      const path = join(partial, file.path);
      if (!weights.includes(file) && !(await isThere(path))) {
        await mkdir(dirname(path), { recursive: true });
        await copyFile(join(preview, file.path), `${path}.copy`);
        await rename(`${path}.copy`, path);
      }
      const onBytes = (bytes: number) => options.onProgress?.({ file: file.path, bytes: before + bytes, totalBytes });
      await downloadFile(file, path, { ...options, onBytes });
      before += file.bytes;
    }
    await rename(partial, directory);
    await rm(preview, { recursive: true, force: true });
    return directory;
  };
  return withLock(beside(directory, 'lock'), work, options.signal);
}

/** Bytes that `fetchRemote` would fetch; 0 when the model is there. */
export async function bytesToFetch(pinned: string, access: SourceAccess, options: FetchOptions = {}): Promise<number> {
  const directory = remoteDirectory(pinned, access);
  if (await isThere(directory)) return 0;
  const { weights } = await needed(pinned, access, options);
  return missingBytes(beside(directory, 'partial'), weights);
}

async function makePreview(pinned: string, access: SourceAccess, options: FetchOptions): Promise<string> {
  const preview = beside(remoteDirectory(pinned, access), 'preview');
  if (await isThere(preview)) return preview;
  const unfinished = `${preview}.partial`;
  const { weights, others } = await needed(pinned, access, options);
  for (const file of others) await downloadFile(file, join(unfinished, file.path), options);
  for (const file of weights) await fetchHeader(file, join(unfinished, file.path), options);
  await rename(unfinished, preview);
  return preview;
}

const LISTS_KEPT = 4;
/** Of the last models that were asked for: a list of a pinned address does not change. */
const lists = new Map<string, ReturnType<typeof neededFiles>>();

async function needed(pinned: string, access: SourceAccess, options: FetchOptions) {
  const key = `${access.models}\n${access.hub.endpoint}\n${access.s3?.endpoint}\n${pinned}`;
  const known = lists.get(key);
  if (known) return known;
  const preview = beside(remoteDirectory(pinned, access), 'preview');
  const list = source(pinned)
    .files(pinned, access)
    .then((files) =>
      neededFiles(files, pinned, async (index) => {
        const seen = join(preview, index.path);
        if (await isThere(seen)) return namesIn(seen);
        const path = join(`${preview}.partial`, index.path);
        await downloadFile(index, path, options);
        return namesIn(path);
      }),
    );
  lists.set(key, list);
  if (lists.size > LISTS_KEPT) lists.delete(lists.keys().next().value as string);
  list.catch(() => lists.delete(key));
  return list;
}

/** Names only; openModelDirectory checks the rest. */
async function namesIn(index: string): Promise<ReadonlySet<string>> {
  try {
    const { weight_map: map } = JSON.parse(await readFile(index, 'utf8')) as { weight_map: Record<string, unknown> };
    return new Set(Object.values(map).map(String));
  } catch (cause) {
    throw new QuantloomError(
      'InvalidModel',
      `${basename(index)} of the model is no index: ${(cause as Error).message}`,
      {
        cause,
      },
    );
  }
}

/** A file as long as the whole, with nothing in it but the header. */
async function fetchHeader(file: RemoteFile, path: string, { signal }: FetchOptions): Promise<void> {
  const first = await rangeOf(file, Math.min(file.bytes, FIRST_BYTES), signal);
  const length = first.byteLength >= 8 ? Number(first.readBigUInt64LE(0)) : 0;
  const wanted = Math.min(file.bytes, 8 + Math.min(length, MAX_HEADER_BYTES));
  const header = wanted <= first.byteLength ? first : await rangeOf(file, wanted, signal);
  const handle = await open(path, 'w');
  try {
    await handle.writeFile(header);
    await handle.truncate(file.bytes);
  } finally {
    await handle.close();
  }
}

async function rangeOf(file: RemoteFile, end: number, signal?: AbortSignal): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for (let done = 0, fruitless = 0; done < end; ) {
    const before = done;
    try {
      for await (const chunk of await file.read({ begin: done, end }, signal)) {
        chunks.push(chunk);
        done += chunk.byteLength;
      }
    } catch (error) {
      if (signal?.aborted || !QuantloomError.is(error) || !error.retryable || fruitless === 2) throw error;
    }
    if (done === before && ++fruitless === 3) {
      throw new QuantloomError('SourceUnavailable', `${file.path} breaks off after ${done} bytes.`, {
        retryable: true,
      });
    }
  }
  return Buffer.concat(chunks);
}

async function checkRoom(directory: string, files: readonly RemoteFile[]): Promise<void> {
  const bytesNeeded = await missingBytes(directory, files);
  const free = await freeBytes(directory);
  if (free === null || bytesNeeded === 0 || free >= bytesNeeded + SPARE_BYTES) return;
  throw new QuantloomError(
    'StoreFull',
    `${bytesNeeded} bytes are to be fetched to ${directory}, and ${free} are free. Free space there, or name another place (QUANTLOOM_MODELS).`,
    { retryable: true, details: { directory, bytesNeeded, bytesFree: free } },
  );
}

async function missingBytes(directory: string, files: readonly RemoteFile[]): Promise<number> {
  let bytes = 0;
  for (const file of files) {
    const path = join(directory, file.path);
    const there = (await stat(path).catch(() => null)) ?? (await stat(`${path}.part`).catch(() => null));
    bytes += Math.max(0, file.bytes - (there?.size ?? 0));
  }
  return bytes;
}

function source(address: string): ModelSource {
  const found = sourceOf(address);
  if (found) return found;
  throw new QuantloomError('WrongUse', `${address} is no address that models can be fetched from.`);
}

/** `.name.preview` beside `name`. */
function beside(directory: string, what: string): string {
  return join(dirname(directory), `.${basename(directory)}.${what}`);
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function sum(files: readonly RemoteFile[]): number {
  return files.reduce((total, { bytes }) => total + bytes, 0);
}
