import { join } from 'node:path';
import { tensorsOfFile } from '../../test/support/tensors-of-file';
import { RecipeSchema, recipeOfFloats } from '../spec';
import { dequantize } from './dequantize';
import type { AffineLinear } from './grids/affine-grid';
import type { BlocksLinear } from './grids/blocks-grid';
import { refuseRecipe } from './methods';
import { quantizeLinear } from './quantize-linear';

/** By torch and gguf (test/oracles/ternary.py). */
const FIXTURE = join(__dirname, 'fixtures', 'ternary.safetensors');
const RECIPE = RecipeSchema.parse({ method: 'ternary', bits: 2, groupSize: -1 });

async function quantized(name: string, changes: object) {
  const file = await tensorsOfFile(FIXTURE);
  const [rows, columns] = file.tensor(`${name}.source`).shape as [number, number];
  const weight = file.floats(`${name}.source`);
  const recipe = { ...RECIPE, ...changes };
  const result = await quantizeLinear({ weight, rows, columns, recipe, hessian: null, minimumZero: 1, threads: 0 });
  return { ...file, ...result };
}

describe.each(['trained', 'other'])('ternary weights (%s)', (name) => {
  it('have the codes and the scale of BitNet, and keep the scale that they have', async () => {
    const { linear, tensor, floats } = await quantized(name, {});
    const codes = Array.from((linear as AffineLinear).codes, (code) => code - 2);
    expect(codes).toEqual([...new Int8Array(tensor(`${name}.codes`).data)]);
    const expected = floats(`${name}.dense`);
    dequantize(linear).forEach((value, at) => {
      expect(value).toBeCloseTo(expected[at] as number, 12);
    });
  });

  it.each(['TQ1_0', 'TQ2_0'] as const)('are the blocks of gguf (%s)', async (blockType) => {
    const { linear, tensor } = await quantized(name, { blockType, groupSize: 256 });
    expect((linear as BlocksLinear).blocks).toEqual(tensor(`${name}.${blockType}`).data);
  });
});

describe('the method ternary', () => {
  it('says what it loses: nothing of weights that are ternary', async () => {
    expect((await quantized('trained', {})).report.relativeWeightError).toBe(0);
    expect((await quantized('other', {})).report.relativeWeightError).toBeGreaterThan(0.1);
  });

  it('refuses what is not ternary', () => {
    expect(refuseRecipe(RECIPE)).toBeNull();
    expect(refuseRecipe({ ...RECIPE, blockType: 'TQ2_0', groupSize: 256 })).toBeNull();
    expect(refuseRecipe({ ...RECIPE, blockType: 'Q4_0', groupSize: 32 })).toMatch(/Q4_0 holds no ternary weights/);
    expect(refuseRecipe({ ...RECIPE, bits: 4 })).toMatch(/2 bits with one scale/);
  });
});

describe('powers of two', () => {
  it('are the nearest of 0 and 2^-6 to 1, of either sign, times the largest magnitude of a group', async () => {
    const floatType = 'log2';
    const changes = { method: 'rtn', scales: 'minmax', floatType, ...recipeOfFloats(floatType) };
    const { linear, floats } = await quantized('powers', changes);
    expect(Array.from(dequantize(linear), (value) => value + 0)).toEqual(
      [...floats('powers.dense')].map((value) => value + 0),
    );
  });
});
