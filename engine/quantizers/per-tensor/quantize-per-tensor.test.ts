import { SeededRandom } from '../../calibration/seeded-random';
import { roundToFloat16 } from '../../numbers';
import { type Recipe, RecipeSchema } from '../../spec';
import { dequantize } from '../dequantize';
import type { AffineLinear } from '../grids/affine-grid';
import { refuseRecipe } from '../methods';
import { quantizeLinear } from '../quantize-linear';
import { parseQuantizedLinear, serializeQuantizedLinear } from '../serialize-quantized-linear';

const ROWS = 130;
const COLUMNS = 96;

function random(seed: number): () => number {
  const seeded = new SeededRandom(seed);
  return () => Number(seeded.next() >> 11n) / 2 ** 52 - 1;
}

const weightOf = () => {
  const next = random(1);
  return Float32Array.from({ length: ROWS * COLUMNS }, () => next() * next() + 0.1);
};

/** X Xᵀ of inputs that go together. */
function correlated(): Float64Array {
  const next = random(2);
  const rows = Array.from({ length: 48 }, () => Float64Array.from({ length: COLUMNS }, next));
  return Float64Array.from({ length: COLUMNS * COLUMNS }, (_, at) => {
    const [i, j] = [Math.floor(at / COLUMNS), at % COLUMNS];
    return rows.reduce((sum, row) => sum + (row[i] as number) * (row[j] as number), i === j ? 4 : 0);
  });
}

async function quantized(
  fields: Partial<Recipe>,
  kernels: 'native' | 'typescript' = 'typescript',
  weight = weightOf(),
) {
  const recipe = RecipeSchema.parse({ perTensor: true, groupSize: -1, ...fields });
  const hessian = recipe.method === 'gptq' ? correlated() : null;
  const size = { rows: ROWS, columns: COLUMNS, minimumZero: 0 as const, name: 'the linear' };
  const { linear, report } = await quantizeLinear({ weight, hessian, recipe, threads: 0, kernels, ...size });
  return { linear: linear as AffineLinear, report };
}

/** tr(ΔW H ΔWᵀ), summed here. */
function outputError({ linear }: { readonly linear: AffineLinear }): number {
  const [source, weight, hessian] = [weightOf(), dequantize(linear), correlated()];
  let error = 0;
  for (let row = 0; row < ROWS; row++) {
    for (let i = 0; i < COLUMNS; i++) {
      const d = (source[row * COLUMNS + i] as number) - (weight[row * COLUMNS + i] as number);
      for (let j = 0; j < COLUMNS; j++) {
        const other = (source[row * COLUMNS + j] as number) - (weight[row * COLUMNS + j] as number);
        error += d * other * (hessian[i * COLUMNS + j] as number);
      }
    }
  }
  return error;
}

describe('one scale for the whole weight', () => {
  it('is that of the extremes: symmetric twice the largest magnitude over all codes', async () => {
    const { linear } = await quantized({ method: 'rtn', scales: 'minmax' });
    const weight = weightOf();
    const scale = roundToFloat16((2 * weight.reduce((most, w) => Math.max(most, Math.abs(w)), 0)) / 15);
    expect(new Set(linear.scales)).toEqual(new Set([scale]));
    expect(new Set(linear.zeros)).toEqual(new Set([8]));
    expect([...linear.codes]).toEqual(Array.from(weight, (w) => Math.min(15, Math.max(0, Math.round(w / scale) + 8))));
  });

  it('has one zero point where codes are asymmetric, and every code is used', async () => {
    const { linear } = await quantized({ method: 'rtn', scales: 'minmax', symmetric: false });
    const weight = weightOf();
    const [low, high] = [Math.min(...weight), Math.max(...weight)];
    const scale = roundToFloat16((high - low) / 15);
    expect(linear.scales).toEqual(new Float32Array(ROWS).fill(scale));
    expect(linear.zeros).toEqual(new Uint8Array(ROWS).fill(Math.round(-low / scale)));
    expect(new Set(linear.codes).size).toBe(16);
  });

  it.each([true, false])('is better when it is searched, symmetric %p', async (symmetric) => {
    const errorOf = async (scales: 'search' | 'minmax') =>
      (await quantized({ method: 'rtn', bits: 3, scales, symmetric })).report.relativeWeightError;
    expect(await errorOf('search')).toBeLessThan(0.95 * (await errorOf('minmax')));
  });

  it.each([true, false])(
    'leaves GPTQ a lower output error than rounding, as the report says, symmetric %p',
    async (symmetric) => {
      const rounded = await quantized({ method: 'rtn', symmetric });
      const solved = await quantized({ method: 'gptq', symmetric });
      expect(new Set(solved.linear.scales).size).toBe(1);
      expect(outputError(solved)).toBeLessThan(0.85 * outputError(rounded));
      const nothing = { ...solved.linear, codes: solved.linear.zeros.slice(0, 1) };
      const energy = outputError({
        linear: { ...nothing, codes: new Uint8Array(ROWS * COLUMNS).fill(nothing.codes[0] as number) },
      });
      expect(solved.report.relativeError).toBeCloseTo(outputError(solved) / energy, 9);
    },
  );

  it('is the same with native kernels, and when it is stored and read again', async () => {
    const { linear } = await quantized({ method: 'gptq' });
    expect((await quantized({ method: 'gptq' }, 'native')).linear).toEqual(linear);
    expect(parseQuantizedLinear(serializeQuantizedLinear(linear))).toEqual(linear);
  });

  it.each([{ method: 'awq' }, { method: 'rtn', floatType: 'fp8' }, { method: 'gptq', blockType: 'Q8_0' }])(
    'is refused with %p',
    (fields) => {
      expect(refuseRecipe(RecipeSchema.parse({ perTensor: true, groupSize: -1, ...fields }))).toContain(
        'perTensor is of integers by the methods rtn and gptq. Leave it out; floats with one scale are floatType fp8-tensor.',
      );
    },
  );

  it('is refused beyond float16, by the name of the linear', async () => {
    const weight = weightOf();
    weight[700] = 3e6;
    await expect(quantized({ method: 'rtn', scales: 'minmax' }, 'typescript', weight)).rejects.toMatchObject({
      code: 'UnsupportedInput',
      message: expect.stringContaining('The weights of the linear need a scale above 65504'),
    });
  });
});
