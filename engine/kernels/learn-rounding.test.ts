import { learnRounding } from './learn-rounding';
import { outputEnergy } from './output-energy';
import { roundToNearest } from './round-to-nearest';

/** Rows of weights in units of a scale of 1, rounded to nearest with 3 bits, and inputs that all share a component. */
function rounded(rows: number, columns: number) {
  const problem = {
    weights: Float64Array.from({ length: rows * columns }, (_, i) => 3 * Math.sin(1 + i * i)),
    ...{ rows, columns, groupSize: columns, rounds: 200 },
    grid: { levels: 7, symmetric: true, minimumZero: 0 },
    hessian: Float64Array.from({ length: columns ** 2 }, (_, at) =>
      Math.floor(at / columns) === at % columns ? 1 : 0.8,
    ),
    scales: new Float32Array(rows).fill(1),
    zeros: new Uint8Array(rows).fill(4),
    codes: new Uint8Array(rows * columns),
    errorsBefore: new Float64Array(rows),
    errors: new Float64Array(rows),
  };
  roundToNearest(problem);
  return problem;
}

function errorsOf({ weights, codes, hessian, rows, columns }: ReturnType<typeof rounded>): Float64Array {
  const difference = weights.map((w, i) => w - ((codes[i] as number) - 4));
  return outputEnergy(difference, hessian, rows, columns);
}

test('codes alone change, and the errors are those of the codes that come out: smaller for most rows, larger for none', () => {
  const problem = rounded(20, 60);
  const { scales, zeros } = rounded(20, 60);
  const before = errorsOf(problem);
  learnRounding(problem);
  const after = errorsOf(problem);
  let better = 0;
  after.forEach((error, row) => {
    expect(problem.errorsBefore[row]).toBeCloseTo(before[row] as number, 9);
    expect(problem.errors[row]).toBeCloseTo(error, 9);
    expect(error).toBeLessThanOrEqual((before[row] as number) + 1e-9);
    if (error < (before[row] as number) - 1e-6) better += 1;
  });
  expect(better).toBeGreaterThan(10);
  expect(problem.scales).toEqual(scales);
  expect(problem.zeros).toEqual(zeros);
  for (const code of problem.codes) expect(code).toBeLessThanOrEqual(7);
});

test('of two weights that err to the same side, the one that errs more is rounded to the other', () => {
  // D H Dᵀ of (0.4, 0.2) is 0.328, of (-0.6, 0.2) 0.208, of (0.4, -0.8) 0.288, of (-0.6, -0.8) 1.768.
  const problem = { ...rounded(1, 2), weights: Float64Array.of(1.4, 0.2), codes: Uint8Array.of(5, 4) };
  learnRounding(problem);
  expect(problem.errorsBefore[0]).toBeCloseTo(0.328, 12);
  expect(problem.errors[0]).toBeCloseTo(0.208, 12);
  expect([...problem.codes]).toEqual([6, 4]);
});

test('no steps, no change', () => {
  const problem = { ...rounded(5, 30), rounds: 0 };
  const codes = problem.codes.slice();
  learnRounding(problem);
  expect(problem.codes).toEqual(codes);
  expect(problem.errors).toEqual(problem.errorsBefore);
});
