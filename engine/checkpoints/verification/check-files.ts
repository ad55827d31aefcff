import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { filesOf } from '../files-of';
import { MANIFEST_FILE, type Manifest } from '../manifest';
import { CheckRecord } from './check';
import { RawSafetensors, type RawTensor } from './raw-safetensors';

/** A tensor and the file it lies in. */
export type TensorPlaces = ReadonlyMap<string, RawTensor & { readonly file: string }>;

const INDEX = 'model.safetensors.index.json';

/** Every file against the size and SHA-256 in the manifest. */
export async function checkFiles(
  directory: string,
  manifest: Manifest | null,
  holdsWeights: (file: string) => boolean,
  signal?: AbortSignal,
): Promise<CheckRecord> {
  const check = new CheckRecord('files are those of the manifest', 'file');
  if (!manifest) {
    check.note(`There is no ${MANIFEST_FILE}: whether the files are complete and unchanged cannot be known.`);
    return check;
  }
  for (const { name, bytes, sha256 } of manifest.files) {
    signal?.throwIfAborted();
    const path = join(directory, name);
    const size = await stat(path).then(
      (stats) => stats.size,
      () => null,
    );
    if (size !== bytes) {
      check.expect(
        false,
        () => `${name}: ${size === null ? 'missing' : `${size} bytes`}, the manifest says ${bytes} bytes`,
      );
      continue;
    }
    const found = await fileSha256(path, signal);
    check.expect(found === sha256, () => `${name}: SHA-256 ${found}, the manifest says ${sha256}`);
  }
  const known = new Set(manifest.files.map(({ name }) => name));
  for (const name of await filesOf(directory)) {
    if (holdsWeights(name) && !known.has(name)) check.find(`${name}: not in the manifest`);
  }
  return check;
}

/** Every weight file's header, and the index against them. @returns where each tensor lies. */
export async function checkHeaders(directory: string): Promise<{ check: CheckRecord; places: TensorPlaces }> {
  const check = new CheckRecord('headers and index agree', 'tensor');
  const places = new Map<string, RawTensor & { readonly file: string }>();
  const files = (await readdir(directory)).filter((name) => name.endsWith('.safetensors')).sort();
  if (files.length === 0) check.find('there is no .safetensors file');
  let totalBytes = 0;
  for (const file of files) {
    try {
      const raw = await RawSafetensors.open(join(directory, file));
      for (const [name, tensor] of raw.tensors) {
        const known = places.get(name);
        check.expect(known === undefined, () => `${name}: in ${known?.file} and in ${file}`);
        places.set(name, { ...tensor, file });
        totalBytes += tensor.end - tensor.begin;
      }
      await raw.close();
    } catch (error) {
      check.find(`${file}: ${(error as Error).message}`);
    }
  }
  await checkIndex(directory, files, places, totalBytes, check);
  return { check, places };
}

async function checkIndex(
  directory: string,
  files: readonly string[],
  places: TensorPlaces,
  totalBytes: number,
  check: CheckRecord,
): Promise<void> {
  const text = await readFile(join(directory, INDEX), 'utf8').catch(() => null);
  if (text === null) {
    if (files.length > 1) check.find(`${INDEX} is missing beside ${files.length} weight files`);
    return;
  }
  const { weight_map: weightMap = {}, metadata } = JSON.parse(text) as {
    weight_map?: Record<string, string>;
    metadata?: { total_size?: number };
  };
  for (const [name, file] of Object.entries(weightMap)) {
    check.expect(
      places.get(name)?.file === file,
      () => `${name}: in ${places.get(name)?.file ?? 'no file'}, the index says ${file}`,
    );
  }
  for (const name of places.keys()) {
    if (!(name in weightMap)) check.find(`${name}: not in the index`);
  }
  const said = metadata?.total_size;
  if (said !== undefined) {
    check.expect(said === totalBytes, () => `the tensors take ${totalBytes} bytes, total_size of the index is ${said}`);
  }
}

async function fileSha256(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, signal })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
