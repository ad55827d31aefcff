import type { DType, Tensor } from '../spec';
import { decodeFloats } from './decode-floats';
import { encodeFloats } from './encode-floats';

/** The bytes at an odd offset of a larger buffer. */
function misaligned(bytes: Uint8Array): Uint8Array {
  const memory = new Uint8Array(bytes.length + 1);
  memory.set(bytes, 1);
  return memory.subarray(1);
}

// Little-endian patterns of 1.5 and -2.
const WRITTEN: readonly [DType, readonly number[]][] = [
  ['F16', [0x00, 0x3e, 0x00, 0xc0]],
  ['BF16', [0xc0, 0x3f, 0x00, 0xc0]],
  ['F32', [0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0]],
  ['F64', [0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0]],
];

describe('decodeFloats', () => {
  test.each(WRITTEN)('reads %s at any byte offset', (dtype, bytes) => {
    const data = Uint8Array.from(bytes);
    for (const source of [data, misaligned(data), Buffer.from(misaligned(data))]) {
      expect([...decodeFloats({ dtype, shape: [2, 1], data: source })]).toEqual([1.5, -2]);
    }
  });

  test('gives values in memory of their own', () => {
    const tensor: Tensor = { dtype: 'F32', shape: [1], data: new Uint8Array(4) };
    decodeFloats(tensor)[0] = 1;
    expect([...tensor.data]).toEqual([0, 0, 0, 0]);
  });

  test('refuses integers, and bytes that do not fit the shape', () => {
    expect(() => decodeFloats({ dtype: 'I32', shape: [1], data: new Uint8Array(4) })).toThrow(
      expect.objectContaining({ code: 'UnsupportedInput', message: expect.stringContaining('I32') }),
    );
    expect(() => decodeFloats({ dtype: 'F16', shape: [3], data: new Uint8Array(4) })).toThrow(
      'shape [3] takes 6 bytes, but 4 were given',
    );
  });
});

describe('encodeFloats', () => {
  test.each(['F32', 'F16', 'BF16'] as const)('writes %s, part of an array too', (dtype) => {
    const bytes = WRITTEN.find(([name]) => name === dtype)?.[1];
    expect([...encodeFloats(Float32Array.of(9, 1.5, -2).subarray(1), dtype)]).toEqual(bytes);
  });

  test('does not share memory with its input', () => {
    const values = Float32Array.of(1);
    const bytes = encodeFloats(values, 'F32');
    values[0] = 0;
    expect([...bytes]).toEqual([0, 0, 0x80, 0x3f]);
  });
});
