import fc from 'fast-check';
import { roundToFloat16 } from '../../numbers';
import { type AffineLinear, dequantize } from '../../quantizers';
import { BLOCK_TYPES } from './blocks/block-types';
import { decodeBlocks } from './blocks/encode-blocks';
import { encodeLinearBlocks, gridBlockType } from './linear-blocks';

interface Case {
  readonly bits: AffineLinear['bits'];
  readonly symmetric: boolean;
  readonly rows?: number;
  readonly columns?: number;
  readonly groupSize?: number;
}

/** Random codes, float16 scales and zero points. */
function linearOf({ bits, symmetric, rows = 3, columns = 128, groupSize = 64 }: Case): fc.Arbitrary<AffineLinear> {
  const levels = 2 ** bits - 1;
  const groups = columns / groupSize;
  const scale = fc.double({ min: 1e-5, max: 4, noNaN: true }).map(roundToFloat16);
  const exactly = (length: number) => ({ minLength: length, maxLength: length });
  const zero = symmetric ? fc.constant(2 ** (bits - 1)) : fc.integer({ min: 0, max: levels });
  return fc
    .record({
      codes: fc.array(fc.integer({ min: 0, max: levels }), exactly(rows * columns)),
      scales: fc.array(scale, exactly(rows * groups)),
      zeros: fc.array(zero, exactly(rows * groups)),
    })
    .map(({ codes, scales, zeros }) => ({
      kind: 'affine' as const,
      rows,
      columns,
      bits,
      groupSize,
      symmetric,
      codes: Uint8Array.from(codes),
      scales: Float32Array.from(scales),
      zeros: Uint8Array.from(zeros),
      groupOf: Int32Array.from({ length: columns }, (_, column) => Math.floor(column / groupSize)),
    }));
}

const sample = (given: Case) => fc.sample(linearOf(given), { numRuns: 1, seed: 5 })[0] as AffineLinear;

describe('a symmetric grid', () => {
  test.each([
    [{ bits: 2, symmetric: true }, 'Q4_0'],
    [{ bits: 3, symmetric: true, groupSize: 32 }, 'Q4_0'],
    [{ bits: 4, symmetric: true, groupSize: 128 }, 'Q4_0'],
    [{ bits: 5, symmetric: true }, 'Q5_0'],
    [{ bits: 6, symmetric: true }, 'Q8_0'],
    [{ bits: 8, symmetric: true }, 'Q8_0'],
  ] as const)('%j becomes %s, and is decoded to the same numbers bit for bit', (given, type) => {
    fc.assert(
      fc.property(linearOf(given), (linear) => {
        const found = encodeLinearBlocks('w', linear);
        expect([found.type, found.lossless]).toEqual([type, true]);
        expect(decodeBlocks(BLOCK_TYPES[found.type], found.blocks)).toEqual(dequantize(linear));
      }),
      { numRuns: 30 },
    );
  });
});

describe('a grid with zero points', () => {
  test.each([
    [{ bits: 2, symmetric: false }, 'Q4_1'],
    [{ bits: 4, symmetric: false }, 'Q4_1'],
    [{ bits: 5, symmetric: false }, 'Q5_1'],
  ] as const)('%j becomes %s, within zero / 2048 steps', (given, type) => {
    fc.assert(
      fc.property(linearOf(given), (linear) => {
        const found = encodeLinearBlocks('w', linear);
        expect(found.type).toBe(type);
        const decoded = decodeBlocks(BLOCK_TYPES[type], found.blocks);
        const groups = linear.columns / linear.groupSize;
        const worst = dequantize(linear).reduce((most, expected, i) => {
          const group = Math.floor(i / linear.columns) * groups + Math.floor((i % linear.columns) / linear.groupSize);
          const scale = linear.scales[group] as number;
          // The smallest float16 step, and float32 rounding of the sum.
          const allowed = (scale * (linear.zeros[group] as number)) / 2048 + 2 ** -25 + Math.abs(expected) * 2 ** -23;
          return Math.max(most, Math.abs((decoded[i] as number) - expected) / allowed);
        }, 0);
        expect(worst).toBeLessThanOrEqual(1);
      }),
      { numRuns: 30 },
    );
  });

  test('scales of few bits, or zero points that are powers of two, are lossless', () => {
    const linear = sample({ bits: 4, symmetric: false });
    const powers = { ...linear, zeros: linear.zeros.map((zero) => 2 ** (zero % 4)) };
    const coarse = { ...linear, scales: linear.scales.map((_, i) => (i + 1) / 64) };
    for (const exact of [powers, coarse]) {
      const found = encodeLinearBlocks('w', exact);
      expect(found.lossless).toBe(true);
      expect(decodeBlocks(BLOCK_TYPES.Q4_1, found.blocks)).toEqual(dequantize(exact));
    }
    expect(encodeLinearBlocks('w', linear).lossless).toBe(false);
  });
});

describe('what no block type holds', () => {
  test('groups by activation', () => {
    const linear = sample({ bits: 4, symmetric: true });
    const groupOf = linear.groupOf.slice().reverse();
    expect(() => encodeLinearBlocks('w', { ...linear, groupOf })).toThrow('act-order without static groups');
  });

  test.each([
    [{ bits: 4, symmetric: true, groupSize: 16 }, 64, 'groups have 16 weights'],
    [{ bits: 4, symmetric: true, groupSize: -1 }, 48, 'rows have 48 weights'],
    [{ bits: 6, symmetric: false, groupSize: 32 }, 64, 'no block type for 6 bit with zero points'],
    [{ bits: 8, symmetric: false, groupSize: 32 }, 64, 'no block type for 8 bit with zero points'],
  ] as const)('%j with %d columns', (grid, columns, reason) => {
    expect(gridBlockType(grid, columns)).toEqual({ refusal: expect.stringContaining(reason) });
  });
});
