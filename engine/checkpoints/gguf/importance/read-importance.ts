import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { elementCount, QuantloomError } from '../../../spec';
import type { GgufMetadata } from '../container/gguf-value';
import { HeaderFault } from '../container/header-reader';
import type { PlacedTensor } from '../container/layout-gguf';
import { MAGIC } from '../container/limits';
import { type GgufHeader, parseGgufHeader } from '../container/parse-gguf-header';
import { floatsAt } from './floats-at';
import type { ImportanceEntry, ImportanceFile } from './importance-file';
import { parseLegacyImportance } from './parse-legacy-importance';

/** What can be read at once. Those of mixtures of 256 experts in 60 layers have 1.5 GB. */
const MAX_BYTES = 2 ** 31 - 1;
const PARTS = ['in_sum2', 'counts'] as const;

/**
 * Reads an importance matrix of llama.cpp, GGUF or legacy, whole: what it says is checked, every number too.
 *
 * @throws QuantloomError InvalidCalibration naming the file, what is wrong in it, the value and the limit.
 */
export async function readImportance(path: string): Promise<ImportanceFile & { readonly sha256: string }> {
  try {
    const { size } = await stat(path);
    if (size > MAX_BYTES) throw new HeaderFault(`it has ${size} bytes, over the limit of ${MAX_BYTES}`);
    const bytes = await readFile(path);
    return { ...parseImportance(bytes), sha256: createHash('sha256').update(bytes).digest('hex') };
  } catch (cause) {
    const fault = cause instanceof HeaderFault ? 'is not a valid importance matrix' : 'cannot be read';
    const message = `${path} ${fault}: ${(cause as Error).message}. Name a file that llama-imatrix wrote.`;
    throw new QuantloomError('InvalidCalibration', message, { cause });
  }
}

/** @throws HeaderFault saying what is wrong. */
export function parseImportance(bytes: Uint8Array): ImportanceFile {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isGguf = bytes.length >= 4 && view.getUint32(0, true) === MAGIC;
  const file = isGguf ? parseGguf(bytes) : parseLegacyImportance(bytes);
  if (file.entries.size === 0) throw new HeaderFault('it has no entries');
  for (const [name, entry] of file.entries) checkNumbers(name, entry);
  return file;
}

function parseGguf(bytes: Uint8Array): ImportanceFile {
  const { metadata, tensors } = parseGgufHeader(bytes, bytes.length);
  const type = metadata.get('general.type')?.value;
  if (type !== 'imatrix') throw new HeaderFault('it is GGUF, but its general.type is not "imatrix"');
  const entries = new Map<string, ImportanceEntry>();
  for (const tensor of tensors.keys()) {
    const part = PARTS.find((suffix) => tensor.endsWith(`.${suffix}`));
    if (!part) throw new HeaderFault(`${JSON.stringify(tensor)} is neither sums (.in_sum2) nor counts (.counts)`);
    const name = tensor.slice(0, -part.length - 1);
    if (!entries.has(name)) entries.set(name, entryOf(name, tensors, bytes));
  }
  return { datasets: datasetsOf(metadata), ...chunksOf(metadata), entries };
}

function entryOf(name: string, tensors: GgufHeader['tensors'], bytes: Uint8Array): ImportanceEntry {
  const [sums, counts] = PARTS.map((part) => {
    const tensor = tensors.get(`${name}.${part}`);
    if (!tensor) throw new HeaderFault(`${JSON.stringify(name)} has no .${part}`);
    if (tensor.type !== 'F32') throw new HeaderFault(`${JSON.stringify(tensor.name)} is ${tensor.type}, not F32`);
    return tensor;
  }) as [PlacedTensor, PlacedTensor];
  const columns = sums.shape.at(-1) as number;
  const matrices = elementCount(counts.shape);
  if (matrices === 0 || elementCount(sums.shape) !== matrices * columns) {
    const shapes = `[${sums.shape.join(', ')}] and [${counts.shape.join(', ')}]`;
    throw new HeaderFault(`the sums and counts of ${JSON.stringify(name)} have the shapes ${shapes}`);
  }
  const floats = (tensor: PlacedTensor) => floatsAt(bytes, tensor.offset, tensor.bytes);
  return { columns, sums: floats(sums), counts: floats(counts) };
}

function datasetsOf(metadata: GgufMetadata): string[] {
  const datasets = metadata.get('imatrix.datasets');
  if (datasets === undefined) return [];
  if (datasets.type === 'array' && datasets.value.of === 'string') return [...datasets.value.values];
  throw new HeaderFault('imatrix.datasets is no array of strings');
}

function chunksOf(metadata: GgufMetadata): Pick<ImportanceFile, 'chunks' | 'chunkTokens'> {
  const [chunks = 0, chunkTokens = null] = ['imatrix.chunk_count', 'imatrix.chunk_size'].map((key) => {
    const found = metadata.get(key);
    if (found === undefined || found.type === 'uint32') return found?.value;
    throw new HeaderFault(`${key} is no uint32`);
  });
  return { chunks, chunkTokens };
}

function checkNumbers(name: string, { columns, sums, counts }: ImportanceEntry): void {
  const isSum = (value: number) => value >= 0 && value < Number.POSITIVE_INFINITY;
  const count = counts.findIndex((value) => !isSum(value));
  if (count !== -1) throw new HeaderFault(`count ${count} of ${JSON.stringify(name)} is ${counts[count]}`);
  const at = sums.findIndex((value) => !isSum(value));
  if (at === -1) return;
  const place = counts.length > 1 ? `expert ${Math.floor(at / columns)}, column ${at % columns}` : `column ${at}`;
  throw new HeaderFault(
    `the sum of ${JSON.stringify(name)} at ${place} is ${sums[at]}; it has to be a finite number, 0 or more`,
  );
}
