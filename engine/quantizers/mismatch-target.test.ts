import { type MismatchedLinear, mismatchTarget } from './mismatch-target';

const [rows, columns, tokens] = [3, 4, 50];

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

const difference = (a: readonly number[][], b: readonly number[][]) =>
  a.map((row, t) => row.map((value, i) => value - (b[t]?.[i] as number)));

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
  const problem: MismatchedLinear = {
    weight,
    rows,
    columns,
    hessian: meanProduct(x, x),
    inputMismatch: meanProduct(difference(x0, x), x),
    residualMismatch: meanProduct(difference(h0, h), x),
    inputShare: 1,
    residualShare: 1,
    damping: 0,
  };
  return { problem, x, x0, h, h0 };
}

describe('mismatchTarget', () => {
  it('makes up for another input', async () => {
    const { problem, x, x0 } = example();
    const target = await mismatchTarget({ ...problem, residualMismatch: null });
    x.forEach((row, t) => {
      const wanted = apply(problem.weight, x0[t] as number[]);
      expect(Math.max(...apply(target, row).map((y, r) => Math.abs(y - (wanted[r] as number))))).toBeLessThan(1e-5);
    });
  });

  it('makes up for another residual too', async () => {
    const { problem, x, x0, h, h0 } = example();
    const target = await mismatchTarget(problem);
    x.forEach((row, t) => {
      const wanted = apply(problem.weight, x0[t] as number[]).map((y, r) => y + (h0[t]?.[r] as number));
      const found = apply(target, row).map((y, r) => y + (h[t]?.[r] as number));
      expect(Math.max(...found.map((y, r) => Math.abs(y - (wanted[r] as number))))).toBeLessThan(1e-5);
    });
  });

  it('goes part of the way', async () => {
    const { problem } = example();
    const whole = await mismatchTarget({ ...problem, residualMismatch: null });
    const part = await mismatchTarget({ ...problem, residualShare: 0, inputShare: 0.25 });
    part.forEach((value, i) => {
      const [from, to] = [problem.weight[i] as number, whole[i] as number];
      expect(value).toBeCloseTo(from + 0.25 * (to - from), 5);
    });
  });

  it('is the weight itself when nothing differs, or when damping outweighs all', async () => {
    const { problem } = example();
    const zero = new Float32Array(columns * columns);
    expect(await mismatchTarget({ ...problem, inputMismatch: zero, residualMismatch: null, damping: 0.01 })).toEqual(
      problem.weight,
    );
    const damped = await mismatchTarget({ ...problem, damping: 1e9 });
    damped.forEach((value, i) => {
      expect(value).toBeCloseTo(problem.weight[i] as number, 6);
    });
  });

  it('solves a 1 x 1 problem as by hand', async () => {
    // W = 2, H = 4, E[(x0 - x) x] = 1, E[(h0 - h) x] = 3, damping 0.25 of 4: (0.5 * 2 * 1 + 1 * 3) / (4 + 1).
    const target = await mismatchTarget({
      weight: Float32Array.of(2),
      rows: 1,
      columns: 1,
      hessian: Float32Array.of(4),
      inputMismatch: Float32Array.of(1),
      residualMismatch: Float32Array.of(3),
      inputShare: 0.5,
      residualShare: 1,
      damping: 0.25,
    });
    expect(target[0]).toBeCloseTo(2.8, 6);
  });

  it('refuses a Hessian that is not positive definite', async () => {
    const { problem } = example();
    const hessian = new Float64Array(columns * columns);
    await expect(mismatchTarget({ ...problem, hessian })).rejects.toThrow('not positive definite');
  });
});
