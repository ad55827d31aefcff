import { bytesOf } from '../../../numbers';
import { QuantloomError } from '../../../spec';
import { ARRAY_ID, type GgufArray, type GgufValue, VALUE_TYPES, type ValueType } from './gguf-value';

const FIRST_BYTES = 1 << 16;

/** Little-endian bytes that grow as they are appended. */
export class HeaderWriter {
  private memory = Buffer.alloc(FIRST_BYTES);
  private length = 0;

  bytes(): Uint8Array {
    return new Uint8Array(this.memory.subarray(0, this.length));
  }

  uint32(value: number): void {
    this.scalar('uint32', value);
  }

  uint64(value: number): void {
    this.scalar('uint64', BigInt(value));
  }

  /** u64 length, UTF-8. */
  string(value: string): void {
    const bytes = Buffer.byteLength(value);
    this.uint64(bytes);
    const at = this.grow(bytes);
    this.memory.write(value, at);
  }

  /** u32 type, value; `key` for messages. */
  value(key: string, value: GgufValue): void {
    if (value.type === 'array') {
      this.uint32(ARRAY_ID);
      this.array(value.value);
      return;
    }
    this.uint32(VALUE_TYPES[value.type].id);
    try {
      if (value.type === 'string') this.string(value.value);
      else this.scalar(value.type, value.value);
    } catch (cause) {
      throw new QuantloomError(
        'UnsupportedInput',
        `The metadata key ${key} of a GGUF file cannot be ${value.value}: ${(cause as Error).message}.`,
        { cause, details: { key } },
      );
    }
  }

  pad(alignment: number): void {
    this.grow((alignment - (this.length % alignment)) % alignment);
  }

  private array(array: GgufArray): void {
    this.uint32(VALUE_TYPES[array.of].id);
    this.uint64(array.values.length);
    if (array.of === 'string') for (const value of array.values) this.string(value);
    else if (array.of === 'bool') for (const value of array.values) this.scalar('bool', value);
    else {
      const bytes = bytesOf(array.values);
      const at = this.grow(bytes.length);
      this.memory.set(bytes, at);
    }
  }

  private scalar(type: ValueType, value: number | bigint | boolean): void {
    const at = this.grow(VALUE_TYPES[type].bytes);
    SCALARS[type]?.(this.memory, value as never, at);
  }

  /** Makes room for `bytes` zeros and returns where they begin. */
  private grow(bytes: number): number {
    const at = this.length;
    this.length += bytes;
    if (this.length > this.memory.length) {
      const larger = Buffer.alloc(Math.max(this.length, 2 * this.memory.length));
      larger.set(this.memory);
      this.memory = larger;
    }
    return at;
  }
}

/** Throw a RangeError for numbers out of range. */
const SCALARS: Partial<Record<ValueType, (memory: Buffer, value: never, at: number) => void>> = {
  uint8: (memory, value, at) => memory.writeUInt8(value, at),
  int8: (memory, value, at) => memory.writeInt8(value, at),
  uint16: (memory, value, at) => memory.writeUInt16LE(value, at),
  int16: (memory, value, at) => memory.writeInt16LE(value, at),
  uint32: (memory, value, at) => memory.writeUInt32LE(value, at),
  int32: (memory, value, at) => memory.writeInt32LE(value, at),
  float32: (memory, value, at) => memory.writeFloatLE(value, at),
  bool: (memory, value, at) => memory.writeUInt8(value ? 1 : 0, at),
  uint64: (memory, value, at) => memory.writeBigUInt64LE(value, at),
  int64: (memory, value, at) => memory.writeBigInt64LE(value, at),
  float64: (memory, value, at) => memory.writeDoubleLE(value, at),
};
