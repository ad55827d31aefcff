import { join } from 'node:path';
import { RawSafetensors } from '../checkpoints/verification/raw-safetensors';
import { float32View } from '../numbers';
import { RecipeSchema } from '../spec';
import { type ScalesToSearch, searchScales } from './search-scales';

/** Searched with numpy on the inputs themselves (test/oracles/awq_scales.py). */
async function problem(name: string, linears: number) {
  const raw = await RawSafetensors.open(join(__dirname, 'fixtures', 'scales.safetensors'));
  try {
    const floats = async (part: string) => float32View(new Uint8Array(await raw.read(`${name}.${part}`)));
    const hessian = await floats('hessian');
    const recipe = RecipeSchema.parse({ method: 'awq', groupSize: 16, symmetric: false });
    const weights: Float32Array[] = [];
    for (let at = 0; at < linears; at++) weights.push(await floats(`weight.${at}`));
    const [ratio, byWeights, error] = await floats('expected');
    return {
      given: {
        hessian,
        columns: Math.sqrt(hessian.length),
        linears: weights.map((weight) => ({ name, weight, recipe })),
      },
      expected: { ratio, byWeights: byWeights === 1, error, scales: await floats('scales') },
    };
  } finally {
    await raw.close();
  }
}

const CASES = [
  ['shared', 2, { size: 64, repeats: 1 }],
  ['heads', 1, { size: 8, repeats: 2 }],
] as const;

describe('searchScales', () => {
  it.each(CASES)('finds what a search on the inputs finds (%s)', async (name, linears, channels) => {
    const { given, expected } = await problem(name, linears);
    const found = await searchScales({ ...given, channels, minimumZero: 0 });
    expect(found.rule.ratio).toBeCloseTo(expected.ratio as number, 6);
    expect(found.rule.byWeights).toBe(expected.byWeights);
    expect(found.relativeToUnscaled).toBeCloseTo(expected.error as number, 4);
    expect(found.scales).toHaveLength(expected.scales.length);
    found.scales.forEach((scale, at) => {
      expect(Math.abs(scale / (expected.scales[at] as number) - 1)).toBeLessThan(1e-5);
    });
  });

  it('does not depend on threads', async () => {
    const { given } = await problem('shared', 2);
    const search: ScalesToSearch = { ...given, channels: { size: 64, repeats: 1 }, minimumZero: 0 };
    const [one, three] = [await searchScales({ ...search, threads: 1 }), await searchScales({ ...search, threads: 3 })];
    expect(three).toEqual(one);
  });

  it('leaves a channel that was never seen as it is, and all of them where none was', async () => {
    const { given } = await problem('shared', 2);
    const hessian = given.hessian.slice();
    for (let i = 0; i < 64; i++) for (const at of [5 * 64 + i, i * 64 + 5]) hessian[at] = 0;
    const search = { ...given, channels: { size: 64, repeats: 1 }, minimumZero: 0 } as const;
    const found = await searchScales({ ...search, hessian });
    expect(found.scales[5]).toBe(1);
    expect(found.rule.ratio).toBeGreaterThan(0);
    const nothing = await searchScales({ ...search, hessian: hessian.fill(0) });
    expect(nothing.scales).toEqual(new Float32Array(64).fill(1));
    expect(nothing.relativeToUnscaled).toBe(1);
  });

  it('ends when it is aborted', async () => {
    const { given } = await problem('heads', 1);
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(searchScales({ ...given, channels: { size: 8, repeats: 2 }, minimumZero: 0, signal })).rejects.toThrow(
      'enough',
    );
  });
});
