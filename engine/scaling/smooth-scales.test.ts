import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { smoothScales } from './smooth-scales';

/** In numpy, from the definition (test/oracles/smooth_scales.py). */
const CASES: Record<string, { meanSquares: number[]; weights: number[][]; scales: number[] }> = JSON.parse(
  readFileSync(join(__dirname, 'fixtures', 'smooth-scales.json'), 'utf8'),
);

describe('smoothScales', () => {
  it.each([
    ['shared', { size: 6, repeats: 1 }],
    ['heads', { size: 2, repeats: 2 }],
  ] as const)('gives the scales of equation 4 (%s)', (name, channels) => {
    const { meanSquares, weights, scales } = CASES[name] as (typeof CASES)[string];
    const found = smoothScales({
      meanSquares: Float64Array.from(meanSquares),
      weights: weights.map((weight) => Float32Array.from(weight)),
      channels,
    });
    expect(found).toHaveLength(scales.length);
    found.forEach((scale, at) => {
      expect(scale / (scales[at] as number)).toBeCloseTo(1, 6);
    });
  });

  it('is 1 where nothing was ever seen', () => {
    const channels = { size: 3, repeats: 1 };
    const weights = [Float32Array.of(1, -2, 0.5)];
    expect(smoothScales({ meanSquares: new Float64Array(3), weights, channels })).toEqual(Float32Array.of(1, 1, 1));
  });
});
