import fc from 'fast-check';
import { bytesOf } from './element-views';
import { encodeFloats } from './encode-floats';
import { findNonFinite } from './non-finite';

const BYTES = { F16: 2, BF16: 2, F32: 4, F64: 8 } as const;

function bytesOfValues(values: readonly number[], dtype: keyof typeof BYTES): Uint8Array {
  return dtype === 'F64' ? bytesOf(Float64Array.from(values)) : encodeFloats(Float32Array.from(values), dtype);
}

describe.each(['F16', 'BF16', 'F32', 'F64'] as const)('findNonFinite in %s', (dtype) => {
  test('counts NaN and infinities of both signs wherever they stand', () => {
    const value = fc.oneof(
      { weight: 20, arbitrary: fc.integer({ min: -60000, max: 60000 }) },
      { weight: 1, arbitrary: fc.constantFrom(Number.NaN, Infinity, -Infinity) },
    );
    fc.assert(
      fc.property(fc.array(value, { maxLength: 40 }), fc.integer({ min: 0, max: 7 }), (values, offset) => {
        const data = bytesOfValues(values, dtype);
        const memory = new Uint8Array(data.length + offset);
        memory.set(data, offset);
        expect(findNonFinite(memory.subarray(offset), dtype)).toEqual({
          count: values.filter((x) => !Number.isFinite(x)).length,
          first: values.findIndex((x) => !Number.isFinite(x)),
        });
      }),
    );
  });

  test('lets the largest finite value of both signs pass', () => {
    const max = { F16: 65504, BF16: 3.3895313892515355e38, F32: 3.4028234663852886e38, F64: Number.MAX_VALUE }[dtype];
    expect(findNonFinite(bytesOfValues([max, -max, -0, max], dtype), dtype).count).toBe(0);
  });
});

test('integers are never non-finite', () => {
  expect(findNonFinite(new Uint8Array(8).fill(0xff), 'I32')).toEqual({ count: 0, first: -1 });
});
