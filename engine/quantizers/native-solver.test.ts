/** The native kernels against the TypeScript ones; where native/ is not built there is nothing to compare. */
import fc from 'fast-check';
import { type NativeAddon, selectKernels } from '../kernels';
import { type Recipe, RecipeSchema } from '../spec';
import type { AffineLinear } from './grids/affine-grid';
import { prepareHessian } from './prepare-hessian';
import { type LinearToQuantize, quantizeLinear } from './quantize-linear';
import type { QuantizationResult } from './quantized-linear';
import { serializeQuantizedLinear } from './serialize-quantized-linear';

// A busy machine is no failure.
jest.setTimeout(240_000);

const { native } = selectKernels('native');

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

interface Shape {
  readonly seed: number;
  readonly rows: number;
  readonly columns: number;
  /** Columns whose input is always zero. */
  readonly dead: readonly number[];
}

/** Weights, and the Hessian of inputs that share a component and differ in size. */
function layer({ seed, rows, columns, dead }: Shape) {
  const next = uniform(seed);
  const weight = Float32Array.from({ length: rows * columns }, next);
  const common = Float64Array.from({ length: columns }, next);
  const size = Float64Array.from({ length: columns }, (_, i) => (dead.includes(i) ? 0 : 0.2 + Math.abs(next())));
  const tokens = columns + 5;
  const x = Float64Array.from({ length: tokens * columns });
  for (let token = 0; token < tokens; token++) {
    const strength = 2 * next();
    for (let i = 0; i < columns; i++) {
      x[token * columns + i] = (size[i] as number) * ((common[i] as number) * strength + next() * 0.5);
    }
  }
  const hessian = new Float64Array(columns * columns);
  for (let token = 0; token < tokens; token++) {
    for (let i = 0; i < columns; i++) {
      const a = (x[token * columns + i] as number) / tokens;
      for (let j = 0; j < columns; j++) {
        hessian[i * columns + j] = (hessian[i * columns + j] as number) + a * (x[token * columns + j] as number);
      }
    }
  }
  return { weight, rows, columns, hessian };
}

// Tails of every kind of block: rows around 24, 48 and 96, columns around 8, 48, 64 and 256.
const shapes: fc.Arbitrary<Shape> = fc
  .record({
    seed: fc.integer({ min: 1, max: 0x7fffffff }),
    rows: fc.oneof(fc.integer({ min: 1, max: 30 }), fc.constantFrom(23, 24, 25, 47, 48, 49, 96, 97, 130)),
    columns: fc.oneof(fc.integer({ min: 1, max: 70 }), fc.constantFrom(63, 64, 65, 72, 96, 127, 128, 150, 257, 290)),
  })
  .chain((shape) =>
    fc.record({
      seed: fc.constant(shape.seed),
      rows: fc.constant(shape.rows),
      columns: fc.constant(shape.columns),
      dead: fc.oneof(fc.constant([]), fc.array(fc.integer({ min: 0, max: shape.columns - 1 }), { maxLength: 3 })),
    }),
  );

const recipes: fc.Arbitrary<Recipe> = fc.record({
  method: fc.constantFrom('gptq' as const, 'gptq' as const, 'rtn' as const),
  bits: fc.constantFrom(2 as const, 3 as const, 4 as const, 5 as const, 6 as const, 8 as const),
  groupSize: fc.constantFrom(-1 as const, 16 as const, 32 as const, 64 as const, 128 as const),
  symmetric: fc.boolean(),
  actOrder: fc.constantFrom('none' as const, 'static' as const, 'dynamic' as const),
  damping: fc.constantFrom(0.01, 0.1),
  scales: fc.constantFrom('minmax' as const, 'search' as const),
  importance: fc.constantFrom('diagonal' as const, 'pivots' as const),
  zeros: fc.constantFrom('range' as const, 'neighbours' as const),
  refinements: fc.integer({ min: 0, max: 3 }),
  restarts: fc.constantFrom(0, 0, 1, 2),
  groupRounds: fc.constantFrom(0, 0, 1, 2),
});
/** Steps that a recipe may leave out. */
const switches = fc.record({
  learnedRounding: fc.constantFrom(0, 10, 40),
  refinementDamping: fc.constantFrom(0, 0.03),
});
const minimumZeros = fc.constantFrom(0 as const, 1 as const);

/** Relative difference; that of nothing and nothing is 0. */
function distance(a: number | null, b: number | null): number {
  if (a === null || b === null) return a === b ? 0 : Number.POSITIVE_INFINITY;
  return a === b ? 0 : Math.abs(a - b) / Math.max(Math.abs(a), Math.abs(b), 1e-13);
}

/** Its recipes are of affine grids. */
const solve = (problem: LinearToQuantize) => quantizeLinear(problem) as Promise<QuantizationResult<AffineLinear>>;

function compareWithReference(addon: NativeAddon): void {
  test.each([
    ['', fc.constant({})],
    [' with learned rounding and refinement damping', switches],
  ])('agree with the reference: codes, scales, zero points, errors%s', async (_, more) => {
    let codes = 0;
    let different = 0;
    await fc.assert(
      fc.asyncProperty(shapes, recipes, minimumZeros, more, async (shape, others, minimumZero, steps) => {
        const problem = { ...layer(shape), recipe: { ...others, ...steps }, minimumZero };
        const expected = await solve({ ...problem, kernels: 'typescript', threads: 0 });
        const actual = await solve({ ...problem, kernels: 'native' });
        codes += expected.linear.codes.length;
        const rows = new Set<number>();
        expected.linear.codes.forEach((code, at) => {
          if (code !== actual.linear.codes[at]) rows.add(Math.floor(at / shape.columns));
          if (code !== actual.linear.codes[at]) different += 1;
        });
        // A weight that lies on the border between two codes can change the rest of its row, nothing else.
        expect(rows.size).toBeLessThanOrEqual(1);
        const { rung, damping, deadColumns, ...errors } = actual.report;
        expect(Object.keys(errors.relativeErrorAfter ?? {})).toEqual(
          Object.keys(expected.report.relativeErrorAfter ?? {}),
        );
        expect({ rung, damping, deadColumns }).toEqual({
          rung: expected.report.rung,
          damping: expected.report.damping,
          deadColumns: expected.report.deadColumns,
        });
        if (rows.size > 0) return;
        expect(actual.linear).toEqual(expected.linear);
        for (const key of ['relativeError', 'relativeErrorBeforeRefinement', 'relativeWeightError'] as const) {
          expect(distance(errors[key], expected.report[key])).toBeLessThan(1e-9);
        }
        for (const [step, error] of Object.entries(errors.relativeErrorAfter ?? {})) {
          const after = expected.report.relativeErrorAfter?.[step as 'refinements'];
          expect(distance(error, after ?? null)).toBeLessThan(1e-9);
        }
      }),
      { numRuns: 120, seed: 20260823 },
    );
    expect(codes).toBeGreaterThan(100_000);
    expect(different / codes).toBeLessThan(1e-3);
  });

  const problem = {
    ...layer({ seed: 77, rows: 330, columns: 200, dead: [3] }),
    recipe: RecipeSchema.parse({ bits: 3, groupSize: 32 }),
    minimumZero: 0 as const,
    kernels: 'native' as const,
  };
  const outcome = async (changes: Partial<LinearToQuantize> = {}) => {
    const { linear, report } = await quantizeLinear({ ...problem, ...changes });
    return [Buffer.from(serializeQuantizedLinear(linear)).toString('base64'), report] as const;
  };

  test('give the same bytes on any number of threads', async () => {
    for (const changes of [{}, { actOrder: 'dynamic' }, { learnedRounding: 40, refinementDamping: 0.03 }] as const) {
      const recipe = { ...problem.recipe, ...changes };
      const one = await outcome({ recipe, threads: 1 });
      for (const threads of [2, 3, 8]) expect(await outcome({ recipe, threads })).toEqual(one);
    }
  });

  test('give the same bytes with every instruction set', async () => {
    const best = addon.instructionSet();
    try {
      for (const steps of [{ refinements: 0 }, { refinements: 3 }, { learnedRounding: 40, refinementDamping: 0.03 }]) {
        const recipe = { ...problem.recipe, ...steps };
        addon.useInstructionSet(best);
        const expected = await outcome({ recipe });
        for (const set of ['avx2', 'neon']) {
          if (addon.useInstructionSet(set)) expect(await outcome({ recipe })).toEqual(expected);
        }
      }
    } finally {
      addon.useInstructionSet(best);
    }
  });

  test('the event loop turns while they solve', async () => {
    const large = layer({ seed: 5, rows: 3000, columns: 150, dead: [] });
    let turns = 0;
    let solving = true;
    const turn = () => {
      turns += 1;
      if (solving) setImmediate(turn);
    };
    turn();
    await quantizeLinear({ ...problem, ...large });
    solving = false;
    expect(turns).toBeGreaterThan(100);
  });

  test.each([{ refinements: 20 }, { learnedRounding: 10_000 }])(
    'an abort ends running work with the signal’s reason (%j)',
    async (steps) => {
      const { hessian } = problem;
      const rows = 100_000;
      const weight = new Float32Array(rows * problem.columns).fill(0.3);
      for (let i = 0; i < weight.length; i += 7) weight[i] = -0.1;
      const controller = new AbortController();
      const reason = new Error('stopped by the operator');
      const recipe = { ...problem.recipe, ...steps };
      const started = performance.now();
      const whole = { ...problem, weight, rows, hessian: await prepareHessian(hessian), recipe, threads: 1 };
      setTimeout(() => controller.abort(reason), 100);
      await expect(quantizeLinear({ ...whole, signal: controller.signal })).rejects.toBe(reason);
      // The whole of it would take minutes, even here.
      expect(performance.now() - started).toBeLessThan(60_000);
    },
  );

  test('a panic is an error, and the next call works', async () => {
    const wrong = { ...problem, rows: 2, weight: problem.weight.subarray(0, 2 * problem.columns) };
    const call = addon.quantizeLinear(
      {
        ...wrong,
        groupSize: 32,
        levels: 7,
        symmetric: true,
        minimumZero: 0,
        method: 'rtn',
        search: false,
        refinements: 0,
        rows: 3,
      },
      1,
      new addon.Cancellation(),
    );
    await expect(call).rejects.toThrow(/native kernel failed/);
    expect((await outcome())[1].rung).toBe('as-asked');
  });
}

if (native) describe('native kernels', () => compareWithReference(native));

test('the kernels in use have a name, and a reason when they are the slow ones', () => {
  const { name, why } = selectKernels();
  expect(name).toMatch(/^(native (avx512|avx2|neon)|typescript)$/);
  expect(why === null).toBe(name.startsWith('native'));
  expect(selectKernels('typescript').name).toBe('typescript');
});
