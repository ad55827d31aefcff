import type { DampingRung } from '../spec';

/** What is factorized. Everything in the outer order; arrays may lie in shared memory and are not changed. */
export interface FactorizationTask {
  /** `[columns, columns]`. */
  readonly hessian: Float64Array;
  readonly columns: number;
  /** `[columns]`: the place of each column in the order of solving. */
  readonly solveOrder: Int32Array;
  /** `[columns]`: 1 where the column is dead; left out of the mean diagonal. */
  readonly dead: Uint8Array;
  readonly damping: number;
}

export interface Factorization {
  /** `[columns, columns]`, in the order of solving; null: no rung led to one. */
  readonly factor: Float64Array | null;
  readonly rung: DampingRung;
  /** The damping that was used last. */
  readonly damping: number;
}

const DAMPING_STEP = 0.01;
const FLOOR_ATTEMPTS = 6;

/**
 * What the condition number (2-norm) of the damped Hessian is at least: a triangular matrix has κ ≥ max |tᵢᵢ| / min |tᵢᵢ|, and
 * κ(UᵀU) = κ(U)². Dead columns do not count. To three digits; it takes no time.
 *
 * @param factor Uᵀ, as {@link Factorization.factor}.
 */
export function conditionAtLeast(
  factor: Float64Array,
  { columns, solveOrder, dead }: Pick<FactorizationTask, 'columns' | 'solveOrder' | 'dead'>,
): number {
  let smallest = Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let i = 0; i < columns; i++) {
    if (dead[solveOrder[i] as number]) continue;
    const pivot = factor[i * columns + i] as number;
    smallest = Math.min(smallest, pivot);
    largest = Math.max(largest, pivot);
  }
  return Number(((largest / smallest) ** 2).toPrecision(3));
}

/** Uᵀ of the inverse of the Hessian with so much damping, and a diagonal of at least `floor`; null: not positive definite. */
export type Attempt = (damping: number, floor: number) => Float64Array | null | Promise<Float64Array | null>;

/**
 * The Cholesky factor of the inverse of the damped Hessian, H + damping · mean(diag H) · I. While that fails:
 * the damping grows by 0.01 as long as it is below 1; then, with the largest of these, every diagonal entry is lifted to at
 * least 1e-6 · max|diag H| · 10^k, k = 0 .. 5; then there is none, and round-to-nearest is what remains.
 */
export async function factorize(task: FactorizationTask, attempt: Attempt): Promise<Factorization> {
  const asked = await attempt(task.damping, Number.NEGATIVE_INFINITY);
  if (asked) return { factor: asked, rung: 'as-asked', damping: task.damping };

  // More damping never makes a matrix less positive definite, so the first rung that holds is found by bisection.
  const dampings = ladder(task.damping);
  const largest = dampings.at(-1) ?? task.damping;
  if (dampings.length > 0 && (await attempt(largest, Number.NEGATIVE_INFINITY))) {
    let fails = -1;
    let holds = dampings.length - 1;
    while (holds - fails > 1) {
      const middle = (fails + holds) >> 1;
      if (await attempt(dampings[middle] as number, Number.NEGATIVE_INFINITY)) holds = middle;
      else fails = middle;
    }
    const damping = dampings[holds] as number;
    // Once more, since attempts may share the memory of their factor.
    const factor = await attempt(damping, Number.NEGATIVE_INFINITY);
    if (factor) return { factor, rung: 'more-damping', damping };
  }

  let magnitude = 0;
  for (let i = 0; i < task.columns; i++) {
    magnitude = Math.max(magnitude, Math.abs(task.hessian[i * task.columns + i] as number));
  }
  for (let k = 0; k < FLOOR_ATTEMPTS; k++) {
    const factor = await attempt(largest, 1e-6 * magnitude * 10 ** k);
    if (factor) return { factor, rung: 'diagonal-floor', damping: largest };
  }
  return { factor: null, rung: 'round-to-nearest', damping: largest };
}

/** asked + 0.01, asked + 0.02, ... below 1. */
function ladder(asked: number): number[] {
  const dampings: number[] = [];
  for (let step = 1; asked + step * DAMPING_STEP < 1; step++) dampings.push(asked + step * DAMPING_STEP);
  return dampings;
}

/** A damped copy in the order of solving. */
export function dampedHessian(task: FactorizationTask, damping: number, floor: number): Float64Array {
  const { hessian, columns, solveOrder, dead } = task;
  const matrix = new Float64Array(columns * columns);
  let trace = 0;
  let live = 0;
  for (let i = 0; i < columns; i++) {
    const from = (solveOrder[i] as number) * columns;
    for (let j = 0; j < columns; j++) matrix[i * columns + j] = hessian[from + (solveOrder[j] as number)] as number;
    const diagonal = Math.max(floor, matrix[i * columns + i] as number);
    matrix[i * columns + i] = diagonal;
    if (dead[solveOrder[i] as number]) continue;
    trace += diagonal;
    live += 1;
  }
  // Dead columns carry a made-up 1 that says nothing about the size of the others.
  const added = (damping * trace) / live;
  for (let i = 0; i < columns; i++) matrix[i * columns + i] = (matrix[i * columns + i] as number) + added;
  return matrix;
}
