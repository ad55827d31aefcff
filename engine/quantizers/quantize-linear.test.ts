import fc from 'fast-check';
import { roundToFloat16 } from '../numbers';
import { type Recipe, RecipeSchema } from '../spec';
import { dequantize } from './dequantize';
import type { AffineLinear } from './grids/affine-grid';
import { prepareHessian } from './prepare-hessian';
import { joinRows, type LinearToQuantize, quantizeLinear as quantize, quantizeRowRange } from './quantize-linear';
import type { QuantizationResult } from './quantized-linear';
import { serializeQuantizedLinear } from './serialize-quantized-linear';

const quantizeLinear = quantize as (linear: LinearToQuantize) => Promise<QuantizationResult<AffineLinear>>;

// A busy machine is no failure.
jest.setTimeout(300_000);

/** Uniform numbers in (-1, 1) from a seed (a 32-bit xorshift). */
function uniform(seed: number): () => number {
  let state = (seed ^ 0x9e3779b9) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state / 2147483648;
  };
}

/** Weights, and the Hessian of inputs whose features are strongly correlated. */
function layer(seed: number, rows: number, columns: number) {
  const next = uniform(seed);
  const weight = Float32Array.from({ length: rows * columns }, next);
  const common = Float64Array.from({ length: columns }, next);
  const hessian = new Float64Array(columns * columns);
  for (let token = 0; token < columns + 5; token++) {
    const strength = 2 * next();
    const x = common.map((value) => value * strength + next() * 0.5);
    for (let i = 0; i < columns; i++) {
      for (let j = 0; j < columns; j++) {
        hessian[i * columns + j] = (hessian[i * columns + j] as number) + (x[i] as number) * (x[j] as number);
      }
    }
  }
  return { weight, rows, columns, hessian: hessian.map((sum) => sum / (columns + 5)), minimumZero: 0 as const };
}

const seeds = fc.integer({ min: 1, max: 0x7fffffff });
const sizes = fc.record({
  seed: seeds,
  rows: fc.integer({ min: 1, max: 7 }),
  columns: fc.integer({ min: 1, max: 70 }),
});
const recipes: fc.Arbitrary<Recipe> = fc.record({
  method: fc.constantFrom('rtn' as const, 'gptq' as const),
  bits: fc.constantFrom(2 as const, 3 as const, 4 as const, 5 as const, 6 as const, 8 as const),
  groupSize: fc.constantFrom(-1 as const, 16 as const, 32 as const, 128 as const),
  symmetric: fc.boolean(),
  actOrder: fc.constantFrom('none' as const, 'static' as const, 'dynamic' as const),
  damping: fc.constantFrom(0.01, 0.1),
  scales: fc.constantFrom('minmax' as const, 'search' as const),
  importance: fc.constantFrom('diagonal' as const, 'pivots' as const),
  zeros: fc.constantFrom('range' as const, 'neighbours' as const),
  refinements: fc.integer({ min: 0, max: 3 }),
  learnedRounding: fc.constantFrom(0, 20),
  refinementDamping: fc.constantFrom(0, 0.03),
  restarts: fc.integer({ min: 0, max: 1 }),
  groupRounds: fc.integer({ min: 0, max: 2 }),
});
/** Under the Hessian that is refined with, nothing gets worse; reported is the error under the undamped one. */
const undamped = recipes.map((recipe) => ({ ...recipe, refinementDamping: 0 }));
const RUNS = { numRuns: 60, seed: 20260823 };

describe.each(['native', 'typescript'] as const)('with a mismatch (%s)', (kernels) => {
  const problem = layer(11, 60, 48);
  const half = problem.weight.map((value, i) => 3 * value + 0.5 * Math.cos(i));
  const other = half.map((value, i) => value * (1 + 0.2 * Math.sin(i)));
  const mismatch = {
    missing: [
      { sum: half, tokens: 10 },
      { sum: other, tokens: 10 },
    ],
    squares: { sum: Float32Array.from(problem.hessian, (value) => 20 * value), tokens: 20 },
  } as const;
  const recipe = RecipeSchema.parse({ bits: 4, groupSize: 16, mismatch: 0.5 });
  const given = { ...problem, mismatch, recipe, kernels, threads: 1 };

  test('the target of it is quantized', async () => {
    const { linear } = await quantizeLinear(given);
    const without = await quantizeLinear({ ...given, recipe: { ...recipe, mismatch: 0 } });
    const unwanted = await quantizeLinear({ ...given, mismatch: null });
    expect(serializeQuantizedLinear(unwanted.linear)).toEqual(serializeQuantizedLinear(without.linear));
    expect(serializeQuantizedLinear(linear)).not.toEqual(serializeQuantizedLinear(without.linear));
  });

  test('any split of the rows gives the same bytes', async () => {
    const { linear } = await quantizeLinear(given);
    const parts = [];
    for (const [first, count] of [
      [0, 7],
      [7, 50],
      [57, 3],
    ] as const) {
      parts.push(await quantizeRowRange(given, { first, count }));
    }
    expect(serializeQuantizedLinear(joinRows(given, parts).linear)).toEqual(serializeQuantizedLinear(linear));
  });
});

describe('whatever the recipe', () => {
  test('codes and zero points are in range, scales positive float16, groups as the file has them', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, recipes, fc.constantFrom(0 as const, 1 as const), async (size, recipe, minimumZero) => {
        const problem = layer(size.seed, size.rows, size.columns);
        const { linear } = await quantizeLinear({ ...problem, recipe, minimumZero });
        const levels = 2 ** recipe.bits - 1;
        const groupSize = recipe.groupSize === -1 ? size.columns : recipe.groupSize;
        const groups = Math.ceil(size.columns / groupSize);
        expect(linear.codes.length).toBe(size.rows * size.columns);
        expect(linear.scales.length).toBe(size.rows * groups);
        for (const code of linear.codes) expect(code).toBeLessThanOrEqual(levels);
        for (const zero of linear.zeros) {
          if (recipe.symmetric) expect(zero).toBe(2 ** (recipe.bits - 1));
          expect(zero).toBeGreaterThanOrEqual(recipe.symmetric ? 0 : minimumZero);
          expect(zero).toBeLessThanOrEqual(levels);
        }
        for (const scale of linear.scales) {
          expect(scale).toBeGreaterThan(0);
          expect(roundToFloat16(scale)).toBe(scale);
        }
        // Each group has its columns, and only dynamic act-order moves them.
        const members = Array.from({ length: groups }, (_, g) => linear.groupOf.filter((group) => group === g).length);
        expect(members.slice(0, -1)).toEqual(members.slice(0, -1).map(() => groupSize));
        if (recipe.method === 'rtn' || recipe.actOrder !== 'dynamic') {
          expect([...linear.groupOf]).toEqual([...linear.groupOf].sort((a, b) => a - b));
        }
      }),
      RUNS,
    );
  });

  test('rows do not depend on each other: taken apart and turned round they give the same bytes', async () => {
    await fc.assert(
      fc.asyncProperty(seeds, recipes, async (seed, recipe) => {
        const [rows, columns] = [50, 24];
        const problem = layer(seed, rows, columns);
        const { linear } = await quantizeLinear({ ...problem, recipe });
        const turned = new Float32Array(rows * columns);
        for (let row = 0; row < rows; row++) {
          turned.set(problem.weight.subarray(row * columns, (row + 1) * columns), (rows - 1 - row) * columns);
        }
        const { linear: other } = await quantizeLinear({ ...problem, weight: turned, recipe });
        const groups = linear.scales.length / rows;
        for (let row = 0; row < rows; row++) {
          const opposite = rows - 1 - row;
          const codes = (from: typeof linear, at: number) => from.codes.subarray(at * columns, (at + 1) * columns);
          const scales = (from: typeof linear, at: number) => from.scales.subarray(at * groups, (at + 1) * groups);
          expect(codes(other, opposite)).toEqual(codes(linear, row));
          expect(scales(other, opposite)).toEqual(scales(linear, row));
        }
        const alone = await quantizeLinear({ ...problem, rows: 1, weight: problem.weight.slice(0, columns), recipe });
        expect(alone.linear.codes).toEqual(linear.codes.slice(0, columns));
      }),
      { ...RUNS, numRuns: 20 },
    );
  });

  test('every step of improvement that is asked for is reported, and none makes the output error larger', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, undamped, async (size, recipe) => {
        const steps = { learnedRounding: 20, refinements: 2, restarts: 1, groupRounds: 1 };
        const whole = { ...recipe, method: 'gptq' as const, ...steps };
        const { report } = await quantizeLinear({ ...layer(size.seed, size.rows, size.columns), recipe: whole });
        const after = report.relativeErrorAfter ?? {};
        expect(Object.keys(after)).toEqual(Object.keys(steps));
        const errors = [report.relativeErrorBeforeRefinement, ...Object.values(after)] as number[];
        expect(after.groupRounds).toBe(report.relativeError);
        // The sums are taken anew after every step: their last bits differ.
        for (let i = 1; i < errors.length; i++) {
          expect(errors[i]).toBeLessThanOrEqual((errors[i - 1] as number) * (1 + 1e-9) + 1e-15);
        }
      }),
      { ...RUNS, numRuns: 30 },
    );
  });

  test('refinement never makes the output error larger', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, undamped, async (size, recipe) => {
        const { report } = await quantizeLinear({ ...layer(size.seed, size.rows, size.columns), recipe });
        // With learned rounding the sum is taken anew before the refinements: its last bits differ.
        const before = report.relativeErrorBeforeRefinement as number;
        expect(report.relativeError).toBeLessThanOrEqual(recipe.learnedRounding ? before * (1 + 1e-9) + 1e-15 : before);
      }),
      RUNS,
    );
  });

  test('one more round of refinement is never worse', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, undamped, async (size, recipe) => {
        const problem = layer(size.seed, size.rows, size.columns);
        const errors: number[] = [];
        // What comes after them starts from another place.
        const alone = { ...recipe, restarts: 0, groupRounds: 0 };
        for (const refinements of [0, 1, 2, 6]) {
          const { report } = await quantizeLinear({ ...problem, recipe: { ...alone, refinements } });
          errors.push(report.relativeError as number);
        }
        // The sum without refinement is taken another way: its last bits differ.
        for (let i = 1; i < errors.length; i++) {
          expect(errors[i]).toBeLessThanOrEqual((errors[i - 1] as number) * (1 + 1e-9) + 1e-15);
        }
      }),
      { ...RUNS, numRuns: 30 },
    );
  });
});

test('on correlated inputs GPTQ beats rounding with the same scales', async () => {
  await fc.assert(
    fc.asyncProperty(seeds, fc.constantFrom(2 as const, 3 as const, 4 as const), async (seed, bits) => {
      const problem = layer(seed, 16, 64);
      const base = { bits, groupSize: 32, scales: 'minmax', refinements: 0 } as const;
      const rtn = await quantizeLinear({ ...problem, recipe: RecipeSchema.parse({ ...base, method: 'rtn' }) });
      const gptq = await quantizeLinear({ ...problem, recipe: RecipeSchema.parse({ ...base, method: 'gptq' }) });
      expect(gptq.linear.scales).toEqual(rtn.linear.scales);
      expect(gptq.report.relativeError).toBeLessThan(rtn.report.relativeError as number);
    }),
    RUNS,
  );
});

test('8 bits are nearly lossless', async () => {
  const problem = layer(3, 20, 96);
  const { linear, report } = await quantizeLinear({
    ...problem,
    recipe: RecipeSchema.parse({ bits: 8, groupSize: 32 }),
  });
  expect(report.relativeError).toBeLessThan(1e-4);
  const weight = dequantize(linear);
  problem.weight.forEach((w, i) => {
    expect(Math.abs((weight[i] as number) - w)).toBeLessThan(0.1);
  });
});

test.each([{}, { learnedRounding: 50, refinementDamping: 0.1 }])(
  'the report measures what the dequantized weight does (%j)',
  async (steps) => {
    const problem = layer(9, 11, 40);
    const { linear, report } = await quantizeLinear({
      ...problem,
      recipe: RecipeSchema.parse({ bits: 3, groupSize: 16, ...steps }),
    });
    const { rows, columns, hessian, weight } = problem;
    const quantized = dequantize(linear);
    const energy = (d: ArrayLike<number>) => {
      let sum = 0;
      for (let r = 0; r < rows; r++) {
        for (let i = 0; i < columns; i++) {
          for (let j = 0; j < columns; j++) {
            sum +=
              (d[r * columns + i] as number) * (hessian[i * columns + j] as number) * (d[r * columns + j] as number);
          }
        }
      }
      return sum;
    };
    const difference = Float64Array.from(weight, (w, i) => w - (quantized[i] as number));
    expect((report.relativeError as number) / (energy(difference) / energy(weight))).toBeCloseTo(1, 9);
    const norm = (d: ArrayLike<number>) => Array.from(d).reduce((sum, x) => sum + x * x, 0);
    expect(report.relativeWeightError / (norm(difference) / norm(weight))).toBeCloseTo(1, 9);
  },
);

test('a power of two between the units of two Hessians changes no byte', async () => {
  const problem = layer(4, 9, 48);
  const recipe = RecipeSchema.parse({ bits: 4, groupSize: 16 });
  const plain = await quantizeLinear({ ...problem, recipe });
  for (const power of [2 ** -900, 2 ** 900]) {
    const hessian = problem.hessian.map((value) => value * power);
    expect(await quantizeLinear({ ...problem, hessian, recipe })).toEqual(plain);
  }
});

test.each(['native', 'typescript'] as const)(
  'switches that are off change neither bytes nor report (%s)',
  async (kernels) => {
    const problem = { ...layer(6, 20, 48), kernels };
    const recipe = RecipeSchema.parse({ bits: 2, groupSize: 16 });
    expect(Object.keys(recipe)).not.toContain('learnedRounding');
    expect(Object.keys(recipe)).not.toContain('refinementDamping');
    const off = { ...recipe, learnedRounding: 0, refinementDamping: 0 };
    const plain = await quantizeLinear({ ...problem, recipe });
    expect(await quantizeLinear({ ...problem, recipe: off })).toEqual(plain);
    for (const on of [{ learnedRounding: 100 }, { refinementDamping: 0.1 }]) {
      const { linear } = await quantizeLinear({ ...problem, recipe: { ...recipe, ...on } });
      expect(serializeQuantizedLinear(linear)).not.toEqual(serializeQuantizedLinear(plain.linear));
    }
  },
);

test('linears that share an input share its Hessian, which stays as it was', async () => {
  const problem = layer(5, 6, 48);
  const before = problem.hessian.slice();
  const recipe = RecipeSchema.parse({ groupSize: 16 });
  const hessian = await prepareHessian(problem.hessian);
  const first = await quantizeLinear({ ...problem, hessian, recipe });
  const second = await quantizeLinear({
    ...problem,
    hessian,
    recipe: { ...recipe, actOrder: 'dynamic', damping: 0.05 },
  });
  expect(first).toEqual(await quantizeLinear({ ...problem, recipe }));
  expect(second.report.damping).toBe(0.05);
  expect(problem.hessian).toEqual(before);
});

describe('a Hessian that', () => {
  const recipe = RecipeSchema.parse({ bits: 4, groupSize: -1 });
  const weight = Float32Array.of(1, -0.3, 0.2, 0.7);
  const solve = (values: number[], changes: Partial<LinearToQuantize> = {}) =>
    quantizeLinear({
      weight,
      rows: 2,
      columns: 2,
      hessian: Float64Array.from(values),
      recipe,
      minimumZero: 0,
      ...changes,
    });

  test('is indefinite by little is damped more, in steps of 0.01', async () => {
    // Eigenvalues 2.055 and -0.055, mean diagonal 1: 0.06 is the first of 0.01, 0.02, ... above 0.055.
    const { report } = await solve([1, 1.055, 1.055, 1]);
    expect(report.rung).toBe('more-damping');
    expect(report.damping).toBeCloseTo(0.06, 12);
  });

  test('has a negative diagonal gets a floor under it', async () => {
    const { report } = await solve([1, 0, 0, -0.9]);
    expect(report.rung).toBe('diagonal-floor');
  });

  test('no damping can save leaves rounding, with scales weighted by its diagonal', async () => {
    const hopeless = [1, 3, 3, 1];
    const { linear, report } = await solve(hopeless);
    expect(report.rung).toBe('round-to-nearest');
    const rounded = await solve(hopeless, { recipe: { ...recipe, method: 'rtn', scales: 'search' } });
    expect(linear).toEqual(rounded.linear);
    expect(rounded.report.rung).toBe('not-needed');
  });

  test('is zero leaves plain rounding and all weights', async () => {
    const { linear, report } = await solve([0, 0, 0, 0]);
    expect(report).toMatchObject({ rung: 'round-to-nearest', deadColumns: 2, relativeError: null });
    // 7 steps of 2/15, as the plain formula has it.
    expect(dequantize(linear)[0]).toBeCloseTo(14 / 15, 3);
  });

  test('has a dead column zeroes its weights and says so', async () => {
    const { linear, report } = await solve([0, 0, 0, 2]);
    expect(report).toMatchObject({ rung: 'as-asked', deadColumns: 1 });
    const quantized = dequantize(linear);
    expect([quantized[0], quantized[2]]).toEqual([0, 0]);
    expect(quantized[3]).toBeCloseTo(0.7, 1);
    // 1² + 0.2² of a total of 1.62 were zeroed.
    expect(report.relativeWeightError).toBeGreaterThan(1.04 / 1.62);
  });

  test.each([
    ['has rank 1', [1, 1, 1, 1]],
    ['is huge', [1e300, 5e299, 5e299, 1e300]],
    ['is as tiny as numbers get', [5e-324, 0, 0, 5e-324]],
  ])('%s is solved as asked', async (_, values) => {
    const { report } = await solve(values);
    expect(report.rung).toBe('as-asked');
    expect(report.relativeError).toBeLessThan(0.05);
  });

  test('is not finite is refused, by name and place', async () => {
    await expect(solve([1, 0, Number.NaN, 1], { name: 'model.layers.0.mlp.down_proj' })).rejects.toMatchObject({
      code: 'InvalidCalibration',
      message: expect.stringMatching(/model\.layers\.0\.mlp\.down_proj has the value NaN at row 1, column 0/),
    });
  });

  test('has another shape, or is missing, is refused', async () => {
    await expect(solve([1])).rejects.toMatchObject({ code: 'InvalidCalibration' });
    await expect(solve([1, 0, 1])).rejects.toMatchObject({ code: 'InvalidCalibration' });
    await expect(solve([], { hessian: null })).rejects.toMatchObject({ code: 'InvalidCalibration' });
  });
});

describe('weights that', () => {
  const recipe = RecipeSchema.parse({ method: 'rtn', groupSize: 16 });
  const rows = 50;
  const columns = 32;
  const solve = (weight: Float32Array) =>
    quantizeLinear({ weight, rows, columns, hessian: null, recipe, minimumZero: 0, name: 'q_proj' });

  test('are not finite are refused, by place', async () => {
    const weight = new Float32Array(rows * columns);
    weight[49 * columns + 20] = Number.NEGATIVE_INFINITY;
    await expect(solve(weight)).rejects.toMatchObject({
      code: 'NonFiniteWeights',
      message: expect.stringContaining('q_proj is -Infinity at row 49, column 20'),
    });
  });

  test('need a scale beyond float16 are refused, by place', async () => {
    const weight = new Float32Array(rows * columns);
    weight[48 * columns + 16] = 1e6;
    await expect(solve(weight)).rejects.toMatchObject({
      code: 'UnsupportedInput',
      message: expect.stringContaining('row 48, group 1'),
    });
  });

  test('are zero stay zero', async () => {
    const { linear, report } = await solve(new Float32Array(rows * columns));
    expect(dequantize(linear).every((w) => w === 0)).toBe(true);
    expect(report).toMatchObject({ relativeWeightError: 0, relativeError: null, rung: 'not-needed' });
  });
});

test('an aborted signal stops the work with its reason', async () => {
  const controller = new AbortController();
  const problem = layer(6, 400, 64);
  const solving = quantizeLinear({ ...problem, recipe: RecipeSchema.parse({}), signal: controller.signal });
  const reason = new Error('cancelled by the operator');
  setImmediate(() => controller.abort(reason));
  await expect(solving).rejects.toBe(reason);
});
