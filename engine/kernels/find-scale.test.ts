import { roundToFloat16 } from '../numbers/float16';
import { SMALLEST_SCALE } from './code-grid';
import { findScales } from './find-scale';

function scaleOf(
  weights: number[],
  options: Partial<Parameters<typeof findScales>[0]> & {
    bits?: number;
    symmetric?: boolean;
    minimumZero?: number;
  } = {},
) {
  const { bits = 4, symmetric = true, minimumZero = 0, ...rest } = options;
  const scales = new Float32Array(1);
  const zeros = new Uint8Array(1);
  findScales({
    weights: Float64Array.from(weights),
    rows: 1,
    columns: weights.length,
    groupSize: weights.length,
    importance: new Float64Array(weights.length).fill(1),
    grid: { levels: 2 ** bits - 1, symmetric, minimumZero },
    search: false,
    scales,
    zeros,
    ...rest,
  });
  return [scales[0], zeros[0]];
}

test('symmetric: 2 max|w| / (2^b - 1), zero in the middle', () => {
  expect(scaleOf([0.5, -1.5, 1])).toEqual([roundToFloat16(3 / 15), 8]);
  expect(scaleOf([0.5, -1.5, 1], { bits: 8 })).toEqual([roundToFloat16(3 / 255), 128]);
  expect(scaleOf([0.5, -1.5, 1], { bits: 2 })).toEqual([1, 2]);
});

test('asymmetric: (max - min) / (2^b - 1), zero at -min / s', () => {
  expect(scaleOf([-1, 0.5, 2], { symmetric: false, bits: 2 })).toEqual([1, 1]);
  // Zero is always inside the range.
  expect(scaleOf([1, 2, 3], { symmetric: false, bits: 2 })).toEqual([1, 0]);
  expect(scaleOf([-1, -2, -3], { symmetric: false, bits: 2 })).toEqual([1, 3]);
});

test('a file that cannot hold the zero point 0 gets 1, and the other codes reach the largest weight', () => {
  expect(scaleOf([1, 2, 3], { symmetric: false, bits: 2, minimumZero: 1 })).toEqual([1.5, 1]);
});

test('a group of zeros counts as the range -1 .. 1', () => {
  expect(scaleOf([0, 0], { bits: 2 })).toEqual([roundToFloat16(2 / 3), 2]);
  expect(scaleOf([0, 0], { bits: 2, symmetric: false })).toEqual([roundToFloat16(2 / 3), 2]);
});

test('scales have a floor next to 1e-5, and what float16 cannot hold is infinite', () => {
  expect(scaleOf([1e-9])).toEqual([SMALLEST_SCALE, 8]);
  expect(Math.abs(SMALLEST_SCALE / 1e-5 - 1)).toBeLessThan(0.003);
  expect(roundToFloat16(SMALLEST_SCALE)).toBe(SMALLEST_SCALE);
  expect(scaleOf([65519 * 7.5])).toEqual([65504, 8]);
  expect(scaleOf([65520 * 7.5])).toEqual([Number.POSITIVE_INFINITY, 8]);
});

test('search clips an outlier whose importance is small, and keeps it where it counts', () => {
  const weights = [...Array.from({ length: 31 }, (_, i) => Math.sin(i)), 3];
  const importance = new Float64Array(32).fill(1);
  const [wide] = scaleOf(weights, { bits: 3 });
  importance[31] = 1e-3;
  expect(scaleOf(weights, { bits: 3, search: true, importance })[0]).toBeLessThan((wide as number) / 2);
  importance[31] = 1e6;
  expect(scaleOf(weights, { bits: 3, search: true, importance })[0]).toBeGreaterThan((wide as number) * 0.8);
});

test('with neighbours the search is as good as the best of all zero points around the clipped ranges', () => {
  const errorOf = (weights: number[], scale: number, zero: number) =>
    weights.reduce((sum, w) => {
      const code = Math.min(3, Math.max(0, Math.round(w / scale) + zero));
      return sum + ((code - zero) * scale - w) ** 2;
    }, 0);
  let better = 0;
  for (let seed = 1; seed <= 40; seed++) {
    const weights = Array.from({ length: 9 }, (_, i) => Math.sin(seed * (i + 1) ** 2) ** 3 + 0.2);
    const low = Math.min(0, ...weights);
    const high = Math.max(0, ...weights);
    let least = Number.POSITIVE_INFINITY;
    for (let step = 0; step < 70; step++) {
      const p = 1 - step / 90;
      const scale = roundToFloat16(((high - low) * p) / 3);
      const middle = Math.round((-low * p) / scale);
      for (const zero of [middle - 1, middle, middle + 1]) {
        if (zero >= 0 && zero <= 3) least = Math.min(least, errorOf(weights, scale, zero));
      }
    }
    const asked = { bits: 2, symmetric: false, search: true };
    const [scale, zero] = scaleOf(weights, { ...asked, neighbours: true }) as [number, number];
    expect(errorOf(weights, scale, zero)).toBeCloseTo(least, 12);
    const [plainScale, plainZero] = scaleOf(weights, asked) as [number, number];
    if (errorOf(weights, plainScale, plainZero) > least * 1.001) better += 1;
  }
  expect(better).toBeGreaterThan(0);
});
