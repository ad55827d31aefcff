import { DTYPE_BITS, type DType, QuantloomError } from '../../spec';
import { HeaderFault, HeaderScanner, quoted } from './header-scanner';

/** Where a tensor lies in its file. Offsets in bytes from the start of the file. */
export interface TensorLocation {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly bytes: number;
}

export interface SafetensorsHeader {
  /** In the order of the file's bytes. */
  readonly tensors: ReadonlyMap<string, TensorLocation>;
  /** `__metadata__`; empty if there is none. Without a prototype. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Where the tensors' bytes begin: 8 plus the length of the JSON. */
  readonly dataOffset: number;
}

/** `InvalidModel` for an input, `InvalidCheckpoint` for what Quantloom or another quantizer wrote. */
export type InvalidFileCode = 'InvalidModel' | 'InvalidCheckpoint';

/** The limit of the official reader: a hostile length must not become an allocation. */
export const MAX_HEADER_BYTES = 100_000_000;
/** Far beyond any tensor (numpy stops at 64 too); keeps a hostile shape from taking memory. */
const MAX_DIMENSIONS = 64;
export const LENGTH_BYTES = 8;

/**
 * The length of the JSON, from the first 8 bytes (u64, little-endian), checked against the file and the limit.
 *
 * @throws QuantloomError `code`, naming `where`.
 */
export function parseHeaderLength(
  bytes: Uint8Array,
  fileBytes: number,
  where: string,
  code: InvalidFileCode = 'InvalidModel',
): number {
  return naming(where, code, () => {
    if (fileBytes < LENGTH_BYTES || bytes.byteLength < LENGTH_BYTES) {
      throw new HeaderFault(`the file is truncated: it has ${fileBytes} bytes, and its header's length alone takes 8`);
    }
    const length = new DataView(bytes.buffer, bytes.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
    if (length > BigInt(MAX_HEADER_BYTES)) {
      throw new HeaderFault(`the header claims ${length} bytes, over the limit of ${MAX_HEADER_BYTES}`);
    }
    if (LENGTH_BYTES + Number(length) > fileBytes) {
      throw new HeaderFault(`the file is truncated: the header claims ${length} bytes, but the file has ${fileBytes}`);
    }
    return Number(length);
  });
}

/**
 * Reads and checks the header of a safetensors file: `u64 length | JSON | tensors` (huggingface/safetensors, "Format"). As strict
 * as the official reader, and stricter where it is silent: duplicate names, unknown fields, and names that JavaScript objects have
 * already (`__proto__`) are refused.
 *
 * @param bytes the file's start, at least to the end of the header.
 * @param fileBytes size of the whole file.
 * @param where the file's name, for messages.
 * @throws QuantloomError `code`, naming the file, the tensor, the value and the limit.
 */
export function parseSafetensorsHeader(
  bytes: Uint8Array,
  fileBytes: number,
  where: string,
  code: InvalidFileCode = 'InvalidModel',
): SafetensorsHeader {
  const length = parseHeaderLength(bytes, fileBytes, where, code);
  return naming(where, code, () => {
    const dataOffset = LENGTH_BYTES + length;
    if (bytes.byteLength < dataOffset) {
      throw new HeaderFault(`the header takes ${dataOffset} bytes, but only ${bytes.byteLength} were read`);
    }
    const { metadata, entries } = scan(decodeUtf8(bytes.subarray(LENGTH_BYTES, dataOffset)));
    checkLayout(entries, fileBytes - dataOffset);
    const tensors = new Map(
      entries.map(({ name, dtype, shape, begin, end }) => [
        name,
        { dtype, shape, offset: dataOffset + begin, bytes: end - begin },
      ]),
    );
    return { tensors, metadata, dataOffset };
  });
}

/** Names that every JavaScript object answers to, and the key of the metadata. */
export function isReservedName(name: string): boolean {
  return name === '__metadata__' || name in Object.prototype;
}

interface Entry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Relative to the data. */
  readonly begin: number;
  readonly end: number;
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new HeaderFault('the header is not UTF-8');
  }
}

function scan(text: string): { metadata: Record<string, string>; entries: Entry[] } {
  const scanner = new HeaderScanner(text);
  const metadata: Record<string, string> = Object.create(null);
  const entries: Entry[] = [];
  scanner.object('the header', (name) => {
    if (name !== '__metadata__') {
      if (isReservedName(name)) throw new HeaderFault(`the tensor name ${quoted(name)} is not allowed`);
      entries.push(scanEntry(scanner, name));
    } else if (!scanner.acceptsNull()) {
      scanner.object('__metadata__', (key) => {
        metadata[key] = scanner.string(`__metadata__ ${quoted(key)}`);
      });
    }
  });
  scanner.end();
  return { metadata, entries };
}

function scanEntry(scanner: HeaderScanner, name: string): Entry {
  const what = `tensor ${quoted(name)}`;
  let dtype: string | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  scanner.object(what, (field) => {
    if (field === 'dtype') dtype = scanner.string(`the dtype of ${what}`);
    else if (field === 'shape') shape = scanner.integers(`the shape of ${what}`, MAX_DIMENSIONS);
    else if (field === 'data_offsets') offsets = scanner.integers(`the data_offsets of ${what}`, 2);
    else throw new HeaderFault(`${what} has the unknown field ${quoted(field)}`);
  });
  for (const [field, value] of Object.entries({ dtype, shape, data_offsets: offsets })) {
    if (value === undefined) throw new HeaderFault(`${what} has no ${field}`);
  }
  const [begin, end] = offsets as number[];
  if (begin === undefined || end === undefined) throw new HeaderFault(`the data_offsets of ${what} are not two`);
  return checkEntry({ name, dtype: dtype as DType, shape: shape as number[], begin, end });
}

function checkEntry(entry: Entry): Entry {
  const { name, dtype, shape, begin, end } = entry;
  const what = `tensor ${quoted(name)}`;
  if (!Object.hasOwn(DTYPE_BITS, dtype)) {
    throw new HeaderFault(`${what} has dtype ${quoted(dtype)}; known are ${Object.keys(DTYPE_BITS).join(', ')}`);
  }
  let bytes = DTYPE_BITS[dtype] / 8;
  for (const size of shape) {
    bytes *= size;
    if (!Number.isSafeInteger(bytes)) {
      throw new HeaderFault(`${what} of shape [${shape.join(', ')}] would take more than 2^53 - 1 bytes`);
    }
  }
  if (begin > end) throw new HeaderFault(`${what} begins at byte ${begin}, after its end at ${end}`);
  if (end - begin !== bytes) {
    throw new HeaderFault(
      `${what} of dtype ${dtype} and shape [${shape.join(', ')}] takes ${bytes} bytes, but its data_offsets [${begin}, ${end}] span ${end - begin}`,
    );
  }
  return entry;
}

/** Tensors must cover the data from end to end, each byte once. Sorts the entries by their place. */
function checkLayout(entries: Entry[], dataBytes: number): void {
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  let previous = '';
  for (const { name, begin, end } of entries) {
    if (end > dataBytes) {
      throw new HeaderFault(
        `the file is truncated, or tensor ${quoted(name)} lies: it ends at byte ${end} of the data, which has ${dataBytes}`,
      );
    }
    if (begin < covered)
      throw new HeaderFault(`tensor ${quoted(name)} overlaps tensor ${quoted(previous)} at byte ${begin}`);
    if (begin > covered) {
      throw new HeaderFault(
        `bytes ${covered} to ${begin} of the data, before tensor ${quoted(name)}, belong to no tensor`,
      );
    }
    covered = end;
    previous = name;
  }
  if (covered < dataBytes) {
    throw new HeaderFault(
      `${dataBytes - covered} bytes after the last tensor (byte ${covered} of the data) belong to no tensor`,
    );
  }
}

function naming<T>(where: string, code: InvalidFileCode, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof HeaderFault)) throw error;
    throw new QuantloomError(code, `${where} is not a valid safetensors file: ${error.message}.`, {
      details: { file: where },
    });
  }
}
