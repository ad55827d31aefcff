import { subtractProduct } from '../kernels/subtract-product';
import type { Recipe } from '../spec';
import type { PreparedHessian } from './prepare-hessian';
import type { SolverPool } from './solver-pool';

export interface MismatchedRows {
  /** `[rows, columns]`: some rows of W. Not changed. */
  readonly weight: Float32Array;
  readonly rows: number;
  /**
   * `[rows, columns]`: E[e xᵀ], e what is missing behind the linear: for one whose output is added to a hidden state, what the original
   * model has there less what there is, (h₀ + W x₀) - (h + W x). It may be the mean over fewer tokens than H is.
   */
  readonly missing: Float32Array;
  /** H = E[x xᵀ] of the input x behind quantized layers. */
  readonly hessian: PreparedHessian;
  /** How much of the way from W to what is wanted: α, 0 to 1. */
  readonly share: number;
  /** Share of the mean live diagonal of H that holds the regression back: λ. Default 0.05. */
  readonly damping?: number;
}

/** What some rows are solved with, anywhere. */
export interface MismatchTask {
  /** `[rows, columns]`. */
  readonly weight: Float32Array;
  readonly missing: Float32Array;
  readonly rows: number;
  readonly columns: number;
  /** `[columns, columns]`, lower triangular: F with F Fᵀ = (H + δ I)⁻¹, H scaled. */
  readonly factor: Float64Array;
  /** What H is scaled by. */
  readonly scale: number;
  readonly share: number;
}

/** The one value that docs/adr/0019 has measurements for. */
const DAMPING = 0.05;

/**
 * The weight that a quantizer is to come close to when its input is not the original one any more: W and a part of the ridge
 * regression of what is missing on x,
 *
 *   W* = W + α E[e xᵀ] (H + δ I)⁻¹,   δ = λ mean(diag H)
 *
 * With e = W (x₀ - x) that is the objective of GPTAQ (Li et al., arXiv 2504.02692) and Qronos (arXiv 2505.11695); the hidden state comes in
 * with LoaQ (Lin, Wan, arXiv 2509.06297). Rows do not depend on one another. Where an input was always zero, e xᵀ is, and the weight stays.
 *
 * @returns `[rows, columns]`; W itself where H cannot be factorized even with a damping of almost 1, or is zero.
 */
export async function mismatchTarget(
  { weight, missing, rows, hessian, share, damping = DAMPING }: MismatchedRows,
  pool: SolverPool,
  signal?: AbortSignal,
): Promise<Float32Array> {
  const { columns, scale } = hessian;
  const recipe: Pick<Recipe, 'method' | 'actOrder' | 'damping'> = { method: 'gptq', actOrder: 'none', damping };
  const solvable = await hessian.solvable(recipe, pool, signal);
  const damped = solvable?.rung === 'as-asked' || solvable?.rung === 'more-damping';
  if (!solvable?.problem.factor || !damped) return weight;
  const task = { weight, missing, rows, columns, factor: solvable.problem.factor, scale, share };
  return pool.mismatchTarget(task, signal);
}

/** Rows that are multiplied at a time. */
const ROWS_AT_ONCE = 48;

/** In TypeScript, on the calling thread. */
export function mismatchTargetOf(task: MismatchTask): Float32Array {
  const { weight, missing, rows, columns, factor, scale, share } = task;
  const transposed = new Float64Array(columns * columns);
  for (let i = 0; i < columns; i++) {
    for (let j = 0; j <= i; j++) transposed[j * columns + i] = factor[i * columns + j] as number;
  }
  const target = new Float32Array(rows * columns);
  for (let first = 0; first < rows; first += ROWS_AT_ONCE) {
    const count = Math.min(ROWS_AT_ONCE, rows - first);
    const start = first * columns;
    const part = Float64Array.from({ length: count * columns }, (_, i) => (missing[start + i] as number) * scale);
    const half = new Float64Array(part.length);
    const whole = new Float64Array(part.length);
    // The product is one with a transpose, and subtracts: twice, and the sign is right again.
    subtractProduct(matrix(half, columns), matrix(part, columns), matrix(transposed, columns), count, columns, columns);
    subtractProduct(matrix(whole, columns), matrix(half, columns), matrix(factor, columns), count, columns, columns);
    for (let i = 0; i < whole.length; i++) {
      target[start + i] = (weight[start + i] as number) + share * (whole[i] as number);
    }
  }
  return target;
}

function matrix(data: Float64Array, stride: number) {
  return { data, offset: 0, stride };
}
