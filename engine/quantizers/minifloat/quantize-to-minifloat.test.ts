import { SeededRandom } from '../../calibration/seeded-random';
import { FLOAT_TYPES, type FloatType, RecipeSchema, recipeOfFloats } from '../../spec';
import { dequantize } from '../dequantize';
import { quantizeLinear } from '../quantize-linear';
import { parseQuantizedLinear, serializeQuantizedLinear } from '../serialize-quantized-linear';

const ROWS = 130;
const COLUMNS = 160;

function random(seed: number): () => number {
  const seeded = new SeededRandom(seed);
  return () => Number(seeded.next() >> 11n) / 2 ** 52 - 1;
}

/** X Xᵀ of inputs that go together. */
function correlated(): Float64Array {
  const next = random(2);
  const rows = Array.from({ length: 64 }, () => Float64Array.from({ length: COLUMNS }, next));
  const hessian = new Float64Array(COLUMNS * COLUMNS);
  for (let i = 0; i < COLUMNS; i++) {
    for (let j = 0; j < COLUMNS; j++) {
      hessian[i * COLUMNS + j] = rows.reduce(
        (sum, row) => sum + (row[i] as number) * (row[j] as number),
        i === j ? 8 : 0,
      );
    }
  }
  return hessian;
}

function weightOf(): Float32Array {
  const next = random(1);
  return Float32Array.from({ length: ROWS * COLUMNS }, () => next() * next());
}

function quantized(floatType: FloatType, method: 'rtn' | 'gptq', kernels: 'native' | 'typescript' = 'typescript') {
  const recipe = RecipeSchema.parse({ method, floatType, ...recipeOfFloats(floatType) });
  const hessian = method === 'gptq' ? correlated() : null;
  const size = { rows: ROWS, columns: COLUMNS, minimumZero: 0 as const };
  return quantizeLinear({ weight: weightOf(), hessian, recipe, threads: 0, kernels, ...size });
}

/** tr(ΔW H ΔWᵀ), summed here. */
function outputError(weight: Float32Array, hessian: Float64Array): number {
  const source = weightOf();
  let error = 0;
  for (let row = 0; row < ROWS; row++) {
    const d = source
      .subarray(row * COLUMNS, (row + 1) * COLUMNS)
      .map((w, i) => w - (weight[row * COLUMNS + i] as number));
    for (let i = 0; i < COLUMNS; i++) {
      for (let j = 0; j < COLUMNS; j++) {
        error += (d[i] as number) * (d[j] as number) * (hessian[i * COLUMNS + j] as number);
      }
    }
  }
  return error;
}

describe.each(FLOAT_TYPES)('weights in %s', (floatType) => {
  it('have a lower output error by GPTQ than rounded, and the report says which', async () => {
    const hessian = correlated();
    const [rounded, solved] = [await quantized(floatType, 'rtn'), await quantized(floatType, 'gptq')];
    const [before, after] = [rounded, solved].map(({ linear }) => outputError(dequantize(linear), hessian));
    expect(after as number).toBeLessThan(0.8 * (before as number));
    const energy = outputError(new Float32Array(ROWS * COLUMNS), hessian);
    expect(solved.report.relativeError).toBeCloseTo((after as number) / energy, 9);
    expect(rounded.report).toMatchObject({ relativeError: null, rung: 'not-needed' });
  });

  it('are the same with native kernels', async () => {
    const [reference, native] = [await quantized(floatType, 'gptq'), await quantized(floatType, 'gptq', 'native')];
    expect(native.linear).toEqual(reference.linear);
    expect(native.report.relativeError).toBeCloseTo(reference.report.relativeError as number, 9);
  });

  it('are stored and read again, the same', async () => {
    const { linear } = await quantized(floatType, 'gptq');
    expect(parseQuantizedLinear(serializeQuantizedLinear(linear))).toEqual(linear);
  });
});

describe.each(['mxfp4', 'nvfp4'] as const)('scales of %s', (floatType) => {
  it('are better when they are searched', async () => {
    const errorWith = async (scales: 'search' | 'minmax') => {
      const recipe = RecipeSchema.parse({ method: 'rtn', scales, floatType, ...recipeOfFloats(floatType) });
      const size = { rows: ROWS, columns: COLUMNS, minimumZero: 0 as const };
      const { report } = await quantizeLinear({ weight: weightOf(), hessian: null, recipe, threads: 0, ...size });
      return report.relativeWeightError;
    };
    expect(await errorWith('search')).toBeLessThan(0.99 * (await errorWith('minmax')));
  });
});
