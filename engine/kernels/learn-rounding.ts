import { nearestCode } from './code-grid';
import { LEAST_GAIN } from './least-gain';
import type { RefinementProblem } from './refine';
import { subtractProduct } from './subtract-product';

/** A quantization whose codes are to be improved; as for refine, but scales and zero points stay. `rounds`: steps of the descent. */
export type RoundingLearningProblem = Omit<RefinementProblem, 'resolveGroups' | 'energies'>;

/** The first step times the number of steps. They fall linearly, so that an offset moves by half of this at most. */
const RATE = 0.5;

/** Offsets lie between minus this and this. */
const LARGEST_OFFSET = 0.5;

/** Bound on how far the middle of a weight's offsets lies from its code: rounded, it is that code. */
const WITHIN_CODE = 0.499;

/**
 * Learned rounding (AdaRound: Nagel et al. 2020, arXiv 2004.10568; SignRound: Cheng et al. 2023, arXiv 2309.05516) on
 * `tr((W - Q) H (W - Q)ᵀ)`: every weight has an offset that is added before it is rounded, and all offsets of a row go down the signed
 * gradient together, by steps that fall linearly. The gradient `-2 s G`, `G = (W - Q) H`, is that of the straight-through estimator,
 * in closed form; only codes that change cost a row of H.
 *
 * It starts from the codes that are there: the middle of a weight's offsets is its code, moved towards where the weight were best, all
 * others given, and the more the farther that is, so that weights change their codes one after the other. A row keeps the best codes
 * that it passes, so none gets worse.
 */
export function learnRounding(problem: RoundingLearningProblem): void {
  const { rows, columns, hessian } = problem;
  const differences = new Float64Array(rows * columns);
  const gradients = new Float64Array(rows * columns);
  const learners = Array.from({ length: rows }, (_, row) => learnerOf(problem, row, differences, gradients));
  const size = { offset: 0, stride: columns };
  subtractProduct(
    { data: gradients, ...size },
    { data: differences, ...size },
    { data: hessian, ...size },
    rows,
    columns,
    columns,
  );
  for (let at = 0; at < gradients.length; at++) gradients[at] = -(gradients[at] as number);
  learners.forEach((learner, row) => {
    problem.errorsBefore[row] = errorOf(learner);
    problem.errors[row] = learn(problem, learner);
  });
}

/** One row; all `[columns]`. */
interface Learner {
  readonly weights: Float64Array;
  /** Written at the end. */
  readonly codes: Uint8Array;
  readonly scales: Float64Array;
  readonly zeros: Float64Array;
  /** Codes less the zero points. */
  readonly steps: Float64Array;
  /** `W - Q`. */
  readonly difference: Float64Array;
  /** G: `(W - Q) H`. */
  readonly gradient: Float64Array;
}

function learnerOf(
  { columns, groupSize, weights, codes, scales, zeros }: RoundingLearningProblem,
  row: number,
  differences: Float64Array,
  gradients: Float64Array,
): Learner {
  const groups = Math.ceil(columns / groupSize);
  const ofRow = <T extends Float64Array | Uint8Array>(array: T) =>
    array.subarray(row * columns, (row + 1) * columns) as T;
  const spread = (values: ArrayLike<number>) =>
    Float64Array.from({ length: columns }, (_, i) => values[row * groups + Math.floor(i / groupSize)] as number);
  const learner = {
    weights: ofRow(weights),
    codes: ofRow(codes),
    scales: spread(scales),
    zeros: spread(zeros),
    steps: Float64Array.from(ofRow(codes)),
    difference: ofRow(differences),
    gradient: ofRow(gradients),
  };
  for (let i = 0; i < columns; i++) learner.steps[i] = (learner.steps[i] as number) - (learner.zeros[i] as number);
  updateDifference(learner);
  return learner;
}

/** @returns the least error; the codes are the ones that have it. */
function learn({ columns, hessian, grid, rounds }: RoundingLearningProblem, learner: Learner): number {
  const { codes, scales, zeros, steps, gradient } = learner;
  const movable = scales.map((scale, i) => ((hessian[i * columns + i] as number) * scale > 0 ? 1 : 0));
  const middles = steps.map((step, i) => {
    if (!movable[i]) return step;
    const way = (gradient[i] as number) / ((hessian[i * columns + i] as number) * (scales[i] as number));
    return step + (WITHIN_CODE * way) / (0.5 + Math.abs(way));
  });
  const places = middles.slice();
  const best = steps.slice();
  let least = errorOf(learner);
  for (let round = 0; round < rounds; round++) {
    const rate = (RATE / rounds) * (1 - round / rounds);
    const moves: { readonly column: number; readonly by: number }[] = [];
    for (let i = 0; i < columns; i++) {
      if (!movable[i]) continue;
      const middle = middles[i] as number;
      const place = (places[i] as number) + Math.sign(gradient[i] as number) * rate;
      places[i] = Math.max(middle - LARGEST_OFFSET, Math.min(middle + LARGEST_OFFSET, place));
      const step = nearestCode(places[i] as number, zeros[i] as number, grid.levels) - (zeros[i] as number);
      if (step === steps[i]) continue;
      moves.push({ column: i, by: (step - (steps[i] as number)) * (scales[i] as number) });
      steps[i] = step;
    }
    if (moves.length === 0) continue;
    for (const { column, by } of moves) {
      const h = column * columns;
      for (let i = 0; i < columns; i++) gradient[i] = (gradient[i] as number) - by * (hessian[h + i] as number);
    }
    updateDifference(learner);
    const error = errorOf(learner);
    if (error < least * (1 - LEAST_GAIN)) {
      least = error;
      best.set(steps);
    }
  }
  for (let i = 0; i < columns; i++) codes[i] = (best[i] as number) + (zeros[i] as number);
  return least;
}

function updateDifference({ weights, steps, scales, difference }: Learner): void {
  for (let i = 0; i < steps.length; i++) {
    difference[i] = (weights[i] as number) - (steps[i] as number) * (scales[i] as number);
  }
}

function errorOf({ difference, gradient }: Learner): number {
  let error = 0;
  for (let i = 0; i < gradient.length; i++) error += (difference[i] as number) * (gradient[i] as number);
  return error;
}
