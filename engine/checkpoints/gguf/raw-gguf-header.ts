import type { ByteSource } from '../verification/byte-source';

export interface RawGgufTensor {
  /** Number of its type in ggml. */
  readonly type: number;
  /** The fastest first, as in the file. */
  readonly sizes: readonly number[];
  /** From the start of the file. */
  readonly begin: number;
}

export interface RawGgufHeader {
  /** Values of metadata that are no arrays. */
  readonly values: ReadonlyMap<string, string | number | boolean>;
  readonly tensors: ReadonlyMap<string, RawGgufTensor>;
  readonly alignment: number;
  readonly dataBegin: number;
}

const FIRST_BYTES = 1 << 24;
const MAX_HEADER_BYTES = 1 << 27;
const STRING = 8;
const ARRAY = 9;
/** By number of the type. */
const READERS: Readonly<
  Record<number, readonly [bytes: number, read: (at: Buffer, offset: number) => number | boolean]>
> = {
  0: [1, (at, offset) => at.readUInt8(offset)],
  1: [1, (at, offset) => at.readInt8(offset)],
  2: [2, (at, offset) => at.readUInt16LE(offset)],
  3: [2, (at, offset) => at.readInt16LE(offset)],
  4: [4, (at, offset) => at.readUInt32LE(offset)],
  5: [4, (at, offset) => at.readInt32LE(offset)],
  6: [4, (at, offset) => at.readFloatLE(offset)],
  7: [1, (at, offset) => at.readUInt8(offset) !== 0],
  10: [8, (at, offset) => Number(at.readBigUInt64LE(offset))],
  11: [8, (at, offset) => Number(at.readBigInt64LE(offset))],
  12: [8, (at, offset) => at.readDoubleLE(offset)],
};

/** The header of a GGUF file, read without the code that wrote it (ggml, docs/gguf.md). @throws Error saying what is wrong. */
export async function readRawGgufHeader(source: ByteSource): Promise<RawGgufHeader> {
  for (let bytes = FIRST_BYTES; ; bytes *= 8) {
    const all = bytes >= Math.min(source.size, MAX_HEADER_BYTES);
    try {
      return parse(await source.read(0, Math.min(bytes, source.size)));
    } catch (error) {
      if (all || !(error instanceof RangeError)) throw error;
    }
  }
}

function parse(buffer: Buffer): RawGgufHeader {
  let at = 0;
  const number = (type: number): number | boolean => {
    const reader = READERS[type];
    if (!reader) throw new Error(`there is no type ${type} of metadata`);
    const value = reader[1](buffer, at);
    at += reader[0];
    return value;
  };
  const skip = (bytes: number) => {
    at += bytes;
    if (at > buffer.length) throw new RangeError(`the header ends at byte ${buffer.length}, ${at} were expected`);
  };
  const string = (): string => {
    const length = number(10) as number;
    const begin = at;
    skip(length);
    return buffer.toString('utf8', begin, at);
  };
  if (buffer.toString('latin1', 0, 4) !== 'GGUF') throw new Error('it does not begin with GGUF');
  at = 4;
  const version = number(4);
  if (version !== 2 && version !== 3) throw new Error(`it has version ${version}`);
  const tensorCount = number(10) as number;
  const keyCount = number(10) as number;

  const values = new Map<string, string | number | boolean>();
  for (let i = 0; i < keyCount; i++) {
    const key = string();
    const type = number(4) as number;
    if (type === STRING) values.set(key, string());
    else if (type !== ARRAY) values.set(key, number(type));
    else {
      const of = number(4) as number;
      const count = number(10) as number;
      const itemBytes = READERS[of]?.[0];
      if (of !== STRING && itemBytes === undefined) throw new Error(`${key} is an array of type ${of}`);
      if (of === STRING) for (let item = 0; item < count; item++) string();
      else skip(count * (itemBytes as number));
    }
  }
  const tensors = new Map<string, RawGgufTensor>();
  for (let i = 0; i < tensorCount; i++) {
    const name = string();
    const dimensions = number(4) as number;
    const sizes = Array.from({ length: dimensions }, () => number(10) as number);
    const type = number(4) as number;
    if (tensors.has(name)) throw new Error(`${name} stands twice`);
    tensors.set(name, { type, sizes, begin: number(10) as number });
  }
  const alignment = Number(values.get('general.alignment') ?? 32);
  const dataBegin = Math.ceil(at / alignment) * alignment;
  for (const [name, tensor] of tensors) tensors.set(name, { ...tensor, begin: dataBegin + tensor.begin });
  return { values, tensors, alignment, dataBegin };
}
