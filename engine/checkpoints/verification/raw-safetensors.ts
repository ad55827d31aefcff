import { type ByteSource, bytesInMemory, openBytes } from './byte-source';
import type { StoredTensor, StoredTensors } from './stored-tensors';

/** Where a tensor lies in a file: absolute byte range. */
export interface RawTensor extends StoredTensor {
  readonly begin: number;
  readonly end: number;
}

const MAX_HEADER_BYTES = 100 * 1024 * 1024;
const BYTES: Readonly<Record<string, number>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
};

/**
 * A safetensors file read without the code that wrote it: verification must not share a mistake with what it verifies.
 *
 * Format: 8 bytes little-endian header length, a JSON object of name to `{dtype, shape, data_offsets}`, then the data.
 */
export class RawSafetensors implements StoredTensors {
  private constructor(
    private readonly source: ByteSource,
    readonly tensors: ReadonlyMap<string, RawTensor>,
    readonly metadata: Readonly<Record<string, string>>,
  ) {}

  /** @throws Error saying what about the header is wrong. */
  static async open(path: string): Promise<RawSafetensors> {
    const source = await openBytes(path);
    try {
      return await RawSafetensors.parse(source);
    } catch (error) {
      await source.close();
      throw error;
    }
  }

  /** A file that is in memory; what is read are views of it. @throws Error saying what about the header is wrong. */
  static of(content: Uint8Array): Promise<RawSafetensors> {
    return RawSafetensors.parse(bytesInMemory(content));
  }

  private static async parse(source: ByteSource): Promise<RawSafetensors> {
    const { size } = source;
    const length = Number((await source.read(0, 8)).readBigUInt64LE());
    if (length > MAX_HEADER_BYTES || length + 8 > size) {
      throw new Error(`the header says ${length} bytes, the file has ${size}`);
    }
    const header = JSON.parse((await source.read(8, 8 + length)).toString('utf8')) as Record<string, unknown>;
    const { __metadata__: metadata, ...entries } = header;
    const tensors = new Map<string, RawTensor>();
    for (const [name, entry] of Object.entries(entries)) tensors.set(name, rawTensor(name, entry, 8 + length, size));
    requireNoHoles(tensors, 8 + length, size);
    return new RawSafetensors(source, tensors, (metadata ?? {}) as Record<string, string>);
  }

  async read(name: string): Promise<Buffer> {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new Error(`there is no tensor ${name}`);
    return this.source.read(tensor.begin, tensor.end);
  }

  async close(): Promise<void> {
    await this.source.close();
  }
}

function rawTensor(name: string, entry: unknown, dataStart: number, size: number): RawTensor {
  const { dtype, shape, data_offsets: offsets } = entry as { dtype: string; shape: number[]; data_offsets: number[] };
  const itemBytes = BYTES[dtype];
  if (itemBytes === undefined) throw new Error(`${name} has the unknown dtype ${dtype}`);
  const [begin = Number.NaN, end = Number.NaN] = offsets ?? [];
  const expected = shape.reduce((product, dimension) => product * dimension, itemBytes);
  if (end - begin !== expected || begin < 0 || dataStart + end > size) {
    throw new Error(`${name}: bytes ${begin} to ${end} do not hold a ${dtype} tensor of shape [${shape.join(', ')}]`);
  }
  return { dtype, shape, begin: dataStart + begin, end: dataStart + end };
}

function requireNoHoles(tensors: ReadonlyMap<string, RawTensor>, dataStart: number, size: number): void {
  let at = dataStart;
  for (const [name, tensor] of [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)) {
    if (tensor.begin !== at)
      throw new Error(`${name} starts at byte ${tensor.begin}, the tensor before it ends at ${at}`);
    at = tensor.end;
  }
  if (at !== size) throw new Error(`the tensors end at byte ${at}, the file at ${size}`);
}
