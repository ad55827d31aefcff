import { ARRAY_ID, type GgufArray, type GgufValue, type NumberArrays, VALUE_TYPES, type ValueType } from './gguf-value';
import { MAX_STRINGS } from './limits';

/** What is wrong with a file, before it is named. */
export class HeaderFault extends Error {}

/** The header goes on behind the bytes that are there. */
export class HeaderCut extends Error {
  constructor(
    /** How many bytes of the file are needed at least. */
    readonly needed: number,
  ) {
    super(`the header takes ${needed} bytes or more`);
  }
}

const TYPE_OF_ID: ReadonlyMap<number, ValueType> = new Map(
  Object.entries(VALUE_TYPES).map(([type, { id }]) => [id, type as ValueType]),
);
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const ARRAYS: { [Type in keyof NumberArrays]: (memory: ArrayBuffer) => NumberArrays[Type] } = {
  uint8: (memory) => new Uint8Array(memory),
  int8: (memory) => new Int8Array(memory),
  uint16: (memory) => new Uint16Array(memory),
  int16: (memory) => new Int16Array(memory),
  uint32: (memory) => new Uint32Array(memory),
  int32: (memory) => new Int32Array(memory),
  float32: (memory) => new Float32Array(memory),
  float64: (memory) => new Float64Array(memory),
  uint64: (memory) => new BigUint64Array(memory),
  int64: (memory) => new BigInt64Array(memory),
};

/**
 * Reads little-endian values from the start of a file, left to right. A length is compared with what the file still has before
 * anything is allocated, so memory stays within a small multiple of the bytes that were read.
 */
export class HeaderReader {
  at = 0;
  private strings = 0;
  private readonly view: DataView;

  /**
   * @param bytes the start of the file.
   * @param fileBytes size of the whole file.
   */
  constructor(
    private readonly bytes: Uint8Array,
    private readonly fileBytes: number,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  uint32(what: string): number {
    return this.view.getUint32(this.take(4, what), true);
  }

  /** A u64 of at most `limit`. */
  count(what: string, limit: number, unit = ''): number {
    const at = this.take(8, what);
    const value = this.view.getUint32(at, true) + this.view.getUint32(at + 4, true) * 2 ** 32;
    if (value <= limit) return value;
    throw new HeaderFault(`${what} is ${this.view.getBigUint64(at, true)}${unit}, over the limit of ${limit}`);
  }

  /** `what` names the string in messages, and its length. */
  string(what: string, limit = Number.MAX_SAFE_INTEGER): string {
    const length = this.count(what, limit, ' bytes long');
    const start = this.take(length, what);
    if (length === 0) return '';
    try {
      return decoder.decode(this.bytes.subarray(start, start + length));
    } catch {
      throw new HeaderFault(`${what} is not valid UTF-8`);
    }
  }

  /** u32 type, value. */
  value(what: string): GgufValue {
    const id = this.uint32(`the type of ${what}`);
    if (id === ARRAY_ID) return { type: 'array', value: this.array(what) };
    const type = typeOf(id, what);
    switch (type) {
      case 'string':
        return { type, value: this.string(what) };
      case 'bool':
        return { type, value: this.bool(what) };
      case 'uint64':
      case 'int64':
        return { type, value: this.numbers(type, 1, what)[0] as bigint };
      default:
        return { type, value: this.numbers(type, 1, what)[0] as number };
    }
  }

  private array(what: string): GgufArray {
    const id = this.uint32(`the element type of ${what}`);
    if (id === ARRAY_ID) throw new HeaderFault(`${what} is an array of arrays, which llama.cpp does not read either`);
    const of = typeOf(id, what);
    const length = this.count(`the length of ${what}`, Number.MAX_SAFE_INTEGER);
    // A string takes 8 bytes at least, for its length.
    this.require(length * ((VALUE_TYPES[of].bytes as number) || 8), what);
    if (of === 'string') {
      this.strings += length;
      if (this.strings > MAX_STRINGS) {
        throw new HeaderFault(`${what} makes ${this.strings} strings, over the limit of ${MAX_STRINGS}`);
      }
      return { of, values: Array.from({ length }, () => this.string(what)) };
    }
    if (of === 'bool') {
      this.strings += length;
      if (this.strings > MAX_STRINGS) throw new HeaderFault(`${what} has ${length} entries, over the limit`);
      return { of, values: Array.from({ length }, () => this.bool(what)) };
    }
    return { of, values: this.numbers(of, length, what) } as GgufArray;
  }

  private numbers<Type extends keyof NumberArrays>(type: Type, length: number, what: string): NumberArrays[Type] {
    const bytes = length * VALUE_TYPES[type].bytes;
    const start = this.take(bytes, what);
    // A copy of their own: they need not lie on a multiple of their size.
    const memory = new ArrayBuffer(bytes);
    new Uint8Array(memory).set(this.bytes.subarray(start, start + bytes));
    return ARRAYS[type](memory);
  }

  private bool(what: string): boolean {
    const value = this.bytes[this.take(1, what)] as number;
    if (value > 1) throw new HeaderFault(`${what} is a bool of ${value}; 0 and 1 are`);
    return value === 1;
  }

  private take(bytes: number, what: string): number {
    this.require(bytes, what);
    const start = this.at;
    if (start + bytes > this.bytes.byteLength) throw new HeaderCut(start + bytes);
    this.at += bytes;
    return start;
  }

  private require(bytes: number, what: string): void {
    if (this.at + bytes <= this.fileBytes) return;
    throw new HeaderFault(
      `the file is truncated: ${what} takes ${bytes} bytes at byte ${this.at}, but the file has ${this.fileBytes}`,
    );
  }
}

function typeOf(id: number, what: string): ValueType {
  const type = TYPE_OF_ID.get(id);
  if (type !== undefined) return type;
  throw new HeaderFault(`${what} has value type ${id}; the format knows 0 to 12`);
}
