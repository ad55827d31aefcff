import { DTYPE_BITS, type DType, elementCount, QuantloomError, type Tensor } from '../../spec';
import { quoted } from './header-scanner';
import { isReservedName, LENGTH_BYTES, MAX_HEADER_BYTES } from './safetensors-header';

/** The official library's order of dtypes, the last one first in a file: wide elements before narrow ones, so that all are aligned. */
const DTYPE_ORDER: readonly DType[] = [
  'BOOL',
  'U8',
  'I8',
  'F8_E5M2',
  'F8_E4M3',
  'I16',
  'U16',
  'F16',
  'BF16',
  'I32',
  'U32',
  'F32',
  'F64',
  'I64',
  'U64',
];

export interface SafetensorsLayout {
  /** The file's start: length, JSON, spaces up to a multiple of 8 bytes. */
  readonly header: Uint8Array;
  /** Names in the order in which their bytes follow the header, without gaps. */
  readonly order: readonly string[];
  /** Size of the whole file. */
  readonly fileBytes: number;
}

/** What transformers asks for before it loads a file. */
const DEFAULT_METADATA: Readonly<Record<string, string>> = { format: 'pt' };

/**
 * Where everything goes in a file, for writers that stream the tensors' bytes. Deterministic, and the same bytes as the official
 * library's: by dtype (widest first), then by name in UTF-8 order; metadata sorted by key.
 *
 * @throws QuantloomError InvalidCheckpoint for a reserved name, a bad shape or a header over the limit.
 */
export function layoutSafetensors(
  tensors: ReadonlyMap<string, { readonly dtype: DType; readonly shape: readonly number[] }>,
  metadata: Readonly<Record<string, string>> = DEFAULT_METADATA,
): SafetensorsLayout {
  const sorted = [...tensors]
    .map(([name, tensor]) => ({ name, utf8: Buffer.from(name), rank: DTYPE_ORDER.indexOf(tensor.dtype), ...tensor }))
    .sort((a, b) => b.rank - a.rank || Buffer.compare(a.utf8, b.utf8));

  const fields: string[] = [];
  const keys = Object.keys(metadata).sort();
  if (keys.length > 0) {
    const pairs = keys.map((key) => `${JSON.stringify(key)}:${JSON.stringify(metadata[key])}`);
    fields.push(`"__metadata__":{${pairs.join(',')}}`);
  }
  let end = 0;
  for (const { name, dtype, shape } of sorted) {
    const begin = end;
    end += byteCount(name, dtype, shape);
    const entry = `{"dtype":"${dtype}","shape":[${shape.join(',')}],"data_offsets":[${begin},${end}]}`;
    fields.push(`${JSON.stringify(name)}:${entry}`);
  }

  const json = Buffer.from(`{${fields.join(',')}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  if (padded > MAX_HEADER_BYTES) {
    throw invalid(
      `The header of ${tensors.size} tensors takes ${padded} bytes, over the limit of ${MAX_HEADER_BYTES}.`,
    );
  }
  const header = new Uint8Array(LENGTH_BYTES + padded).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(json, LENGTH_BYTES);
  return { header, order: sorted.map(({ name }) => name), fileBytes: header.length + end };
}

/**
 * A whole file in memory.
 *
 * @param metadata default `{ format: 'pt' }`, without which transformers refuses a file.
 * @throws QuantloomError InvalidCheckpoint naming the tensor whose bytes do not match its shape; see layoutSafetensors.
 */
export function serializeSafetensors(
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>> = DEFAULT_METADATA,
): Uint8Array {
  const { header, order, fileBytes } = layoutSafetensors(tensors, metadata);
  const file = new Uint8Array(fileBytes);
  file.set(header);
  let at = header.length;
  for (const name of order) {
    const { dtype, shape, data } = tensors.get(name) as Tensor;
    const bytes = byteCount(name, dtype, shape);
    if (data.byteLength !== bytes) {
      throw invalid(
        `Tensor ${quoted(name)} of dtype ${dtype} and shape [${shape.join(', ')}] takes ${bytes} bytes, but ${data.byteLength} were given.`,
      );
    }
    file.set(data, at);
    at += bytes;
  }
  return file;
}

function byteCount(name: string, dtype: DType, shape: readonly number[]): number {
  if (isReservedName(name) || /\p{Surrogate}/u.test(name)) {
    throw invalid(`The tensor name ${quoted(name)} is not allowed in a safetensors file.`);
  }
  const bytes = (elementCount(shape) * DTYPE_BITS[dtype]) / 8;
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0) || !Number.isSafeInteger(bytes)) {
    throw invalid(
      `Tensor ${quoted(name)} has the shape [${shape.join(', ')}], which is not one of non-negative integers.`,
    );
  }
  return bytes;
}

function invalid(message: string): QuantloomError {
  return new QuantloomError('InvalidCheckpoint', message);
}
