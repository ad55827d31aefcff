import { type MismatchedRows, mismatchTarget } from './mismatch-target';
import { prepareHessian } from './prepare-hessian';
import { solverPool } from './solver-pool';

const [rows, columns, tokens] = [3, 4, 50];

interface Problem extends Pick<MismatchedRows, 'weight' | 'rows'> {
  readonly share: number;
  readonly damping: number;
  readonly hessian: Float64Array | Float32Array;
  /** What one half of the tokens says. */
  readonly missing: Float32Array;
  /** What the other half says. Default: the same. */
  readonly other?: Float32Array;
  /** E[x xᵀ] of the tokens that say it. Default: those of `hessian` say it. */
  readonly seen?: Float32Array;
}

/** With a Hessian that is not prepared yet. */
async function targetOf(
  { weight, rows, share, damping, missing, other = missing, ...problem }: Problem,
  kernels: 'native' | 'typescript' = 'typescript',
): Promise<Float32Array> {
  const hessian = await prepareHessian(problem.hessian);
  const recipe = { damping, mismatch: share };
  const sumOf = (mean: Float32Array, tokens: number) => ({ sum: mean.map((v) => v * tokens), tokens });
  const squares = problem.seen ? sumOf(problem.seen, 24) : null;
  const mismatch = { missing: [sumOf(missing, 16), sumOf(other, 8)], squares } as const;
  return mismatchTarget({ weight, rows, mismatch, hessian, recipe }, solverPool(1, kernels));
}

function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return state / 0x40000000 - 1;
  };
}

/** `[m, n]` = mean over tokens of a bᵀ. */
function meanProduct(a: readonly number[][], b: readonly number[][]): Float64Array {
  const [m, n] = [a[0]?.length as number, b[0]?.length as number];
  const sum = new Float64Array(m * n);
  a.forEach((left, t) => {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        sum[i * n + j] = (sum[i * n + j] as number) + ((left[i] as number) * (b[t]?.[j] as number)) / a.length;
      }
    }
  });
  return sum;
}

const apply = (weight: ArrayLike<number>, x: readonly number[]) =>
  Array.from({ length: rows }, (_, r) =>
    x.reduce((sum, value, c) => sum + value * (weight[r * columns + c] as number), 0),
  );

/** Inputs that are a fixed linear map away from the original ones, so that a weight exists which makes up for it. */
function example() {
  const next = random(3);
  const weight = Float32Array.from({ length: rows * columns }, next);
  const x = Array.from({ length: tokens }, () => Array.from({ length: columns }, next));
  const x0 = x.map((row) => row.map((value, i) => 1.1 * value + 0.3 * (row[(i + 1) % columns] as number)));
  const h = x.map((row) => Array.from({ length: rows }, (_, r) => (row[r] as number) * 2));
  const h0 = h.map((row, t) => row.map((value, r) => value + 0.5 * (x[t]?.[(r + 2) % columns] as number)));
  const outputs = x0.map((row) => apply(weight, row));
  const less = (a: readonly number[][], b: readonly number[][]) =>
    a.map((row, t) => row.map((value, r) => value - (b[t]?.[r] as number)));
  const asItIs = x.map((row) => apply(weight, row));
  const sums = outputs.map((row, t) => row.map((value, r) => value + (h0[t]?.[r] as number)));
  const problem: Problem = {
    weight,
    rows,
    hessian: meanProduct(x, x),
    missing: Float32Array.from(meanProduct(less(outputs, asItIs), x)),
    share: 1,
    damping: 0,
  };
  const missing = less(less(sums, h), asItIs);
  return {
    problem,
    x,
    h,
    outputs,
    sums,
    withResidual: { ...problem, missing: Float32Array.from(meanProduct(missing, x)) },
  };
}

const largest = (a: readonly number[], b: readonly number[]) =>
  Math.max(...a.map((value, i) => Math.abs(value - (b[i] as number))));

describe('mismatchTarget', () => {
  it('makes up for another input', async () => {
    const { problem, x, outputs } = example();
    const target = await targetOf(problem);
    x.forEach((row, t) => {
      expect(largest(apply(target, row), outputs[t] as number[])).toBeLessThan(1e-5);
    });
  });

  it('makes up for another hidden state too', async () => {
    const { withResidual, x, h, sums } = example();
    const target = await targetOf(withResidual);
    x.forEach((row, t) => {
      const found = apply(target, row).map((y, r) => y + (h[t]?.[r] as number));
      expect(largest(found, sums[t] as number[])).toBeLessThan(1e-5);
    });
  });

  it('is the same where the few tokens are like all', async () => {
    const { problem } = example();
    const apart = await targetOf({ ...problem, seen: Float32Array.from(problem.hessian) });
    expect(largest([...(await targetOf(problem))], [...apart])).toBeLessThan(1e-5);
  });

  it('goes part of the way', async () => {
    const { problem } = example();
    const whole = await targetOf(problem);
    const part = await targetOf({ ...problem, share: 0.25 });
    part.forEach((value, i) => {
      const [from, to] = [problem.weight[i] as number, whole[i] as number];
      expect(value).toBeCloseTo(from + 0.25 * (to - from), 5);
    });
  });

  it('stays at the weight when nothing differs, whatever the damping, and when damping outweighs all', async () => {
    const { problem } = example();
    const right = { ...problem, missing: new Float32Array(rows * columns) };
    for (const same of [right, { ...right, damping: 0.3 }, { ...problem, damping: 1e9 }]) {
      expect(largest([...(await targetOf(same))], [...problem.weight])).toBeLessThan(1e-6);
    }
  });

  it('solves a 1 x 1 problem as by hand', async () => {
    // W = 2, H = 4, E[e x] = 5, ridge 0.25 * 4 = 1: 2 and half of 5 / (4 + 1).
    const target = await targetOf({
      weight: Float32Array.of(2),
      rows: 1,
      hessian: Float32Array.of(4),
      missing: Float32Array.of(5),
      share: 0.5,
      damping: 0.25,
    });
    expect(target[0]).toBeCloseTo(2.5, 6);
  });

  it.each(['native', 'typescript'] as const)('is what numpy solves (%s)', async (kernels) => {
    // numpy: 0.5 W + 0.5 (Y + d W) @ inv(H + d I), d = 0.05 trace(H) / 3, over six tokens of eighths; Y = E[y xᵀ], e = y - W x.
    const weight = Float32Array.of(1, 0.25, 0.375, 0.875, 0.125, 0.625);
    const hessian = [2.5625, -1.390625, -0.921875, -1.390625, 2.359375, -0.109375, -0.921875, -0.109375, 2.59375];
    const wanted = [2.189453125, -2.197265625, -0.50390625, 2.921875, -2.203125, 0.43359375];
    const missing = wanted.map((value, i) => {
      const [row, column] = [Math.floor(i / 3), i % 3];
      return (
        value -
        [0, 1, 2].reduce((sum, k) => sum + (weight[3 * row + k] as number) * (hessian[3 * k + column] as number), 0)
      );
    });
    const mean = (sums: readonly number[]) => Float32Array.from(sums, (sum) => sum / 6);
    const problem = { weight, rows: 2, hessian: mean(hessian), missing: mean(missing), share: 0.5, damping: 0.05 };
    const right = [
      0.7904715775225308, -0.1481421337108359, 0.19097066260618795, 1.0676496588760205, -0.011593078731940334,
      0.6173006129062061,
    ];
    expect(largest([...(await targetOf(problem, kernels))], right)).toBeLessThan(1e-6);
  });

  it('leaves the weight where the input was zero all along, in some columns or in all', async () => {
    const { problem } = example();
    const dead = 2;
    const without = (array: Float64Array | Float32Array) =>
      array.map((value, i) => (i % columns === dead || Math.floor(i / columns) === dead ? 0 : value));
    const missing = problem.missing.map((value, i) => (i % columns === dead ? 0 : value));
    const found = await targetOf({ ...problem, missing, hessian: without(problem.hessian) as Float64Array });
    const alike = (i: number) => Math.abs((found[i] as number) - (problem.weight[i] as number)) < 1e-6;
    expect([...found.keys()].filter((i) => alike(i))).toEqual([dead, columns + dead, 2 * columns + dead]);
    const zero = new Float64Array(columns * columns);
    expect(await targetOf({ ...problem, hessian: zero })).toEqual(problem.weight);
  });

  it('believes in a row as far as both halves of the tokens agree on it', async () => {
    // H = I: the halves (1, 0) and (c, s), of equal energy, agree in c of 2 (1 + c) / 4.
    const [cosine, sine] = [0.6, 0.8];
    const problem: Problem = {
      weight: Float32Array.of(0, 0, 0, 0, 0, 0),
      rows: 3,
      hessian: Float32Array.of(1, 0, 0, 1),
      missing: Float32Array.of(1, 0, 1, 0, 1, 0),
      other: Float32Array.of(cosine, sine, -1, 0, 0, 0),
      share: 1,
      damping: 0,
    };
    const believed = cosine / ((1 + cosine) / 2);
    const right = [(believed * (1 + cosine)) / 2, (believed * sine) / 2, 0, 0, 0, 0];
    for (const kernels of ['native', 'typescript'] as const) {
      expect(largest([...(await targetOf(problem, kernels))], right)).toBeLessThan(1e-6);
    }
  });

  it.each(['native', 'typescript'] as const)('weighs by the tokens that were seen and by all (%s)', async (kernels) => {
    // By hand: M = ½ seen + ½ H; Δ = E[e xᵀ] M⁻¹.
    const problem: Problem = {
      weight: Float32Array.of(0, 0),
      rows: 1,
      hessian: Float32Array.of(1, 0, 0, 1),
      seen: Float32Array.of(16, 0, 0, 0.25),
      missing: Float32Array.of(16, 0.25),
      share: 1,
      damping: 0,
    };
    const right = [16 / 8.5, 0.25 / 0.625];
    expect(largest([...(await targetOf(problem, kernels))], right)).toBeLessThan(1e-6);
  });

  it('never more than doubles, however large a share of what was seen an input had', async () => {
    // e = Δ₀ x with Δ₀ = 1 everywhere; some inputs stand out in the tokens that were seen, some hardly appear there.
    const factors = [1000, 30, 1, 0.03, 0.001];
    const square = (diagonal: (column: number) => number) =>
      Float32Array.from({ length: 25 }, (_, i) => (i % 6 === 0 ? diagonal(i / 6) : 0));
    const seen = factors.map((factor, column) => factor * (column + 1));
    const target = await targetOf({
      weight: new Float32Array(5),
      rows: 1,
      hessian: square((column) => column + 1),
      seen: square((column) => seen[column] as number),
      missing: Float32Array.from(seen),
      share: 1,
      damping: 0,
    });
    expect(Math.max(...target)).toBeLessThan(2);
    expect(target[2]).toBeCloseTo(1, 6);
    expect(Math.min(...target)).toBeGreaterThan(0);
  });

  it('adds hardly anything where all is noise', async () => {
    const next = random(9);
    const noise = () => Float32Array.from({ length: 400 }, next);
    const identity = Float32Array.from({ length: 400 * 400 }, (_, i) => (i % 401 === 0 ? 1 : 0));
    const weight = new Float32Array(400);
    const problem = { weight, rows: 1, hessian: identity, missing: noise(), other: noise(), share: 1, damping: 0 };
    const all = await targetOf({ ...problem, other: problem.missing });
    const found = await targetOf(problem);
    expect(Math.hypot(...found)).toBeLessThan(0.15 * Math.hypot(...all));
  });

  it('native kernels solve the same', async () => {
    const { withResidual } = example();
    const other = withResidual.missing.map((value, i) => value * (1 + 0.4 * Math.sin(i)));
    const problem = { ...withResidual, other, share: 0.5, damping: 0.05 };
    const [reference, native] = [await targetOf(problem), await targetOf(problem, 'native')];
    expect(largest([...native], [...reference])).toBeLessThan(1e-6);
  });
});
