import { subtractProduct } from '../kernels/subtract-product';
import type { Recipe } from '../spec';
import type { PreparedHessian, Solvable } from './prepare-hessian';
import type { SolverPool } from './solver-pool';

export interface MismatchedRows {
  /** `[rows, columns]`: some rows of W. Not changed. */
  readonly weight: Float32Array;
  readonly rows: number;
  /**
   * `[rows, columns]`: E[y xᵀ], y what the linear had to give for everything to be right again behind it: W x₀ with the input x₀ of
   * the original model; for a linear whose output is added to a hidden state, the original's sum less the hidden state at hand,
   * (h₀ + W x₀) - h. Without the bias.
   */
  readonly wanted: Float32Array;
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
  readonly wanted: Float32Array;
  readonly rows: number;
  readonly columns: number;
  /** `[columns, columns]`, lower triangular: F with F Fᵀ = (H + δ I)⁻¹, H scaled. */
  readonly factor: Float64Array;
  /** `[columns]`: 1 where the input was always zero; there H has a made-up 1 on its diagonal. */
  readonly dead: Uint8Array;
  /** What H is scaled by. */
  readonly scale: number;
  /** δ, of the scaled H. */
  readonly ridge: number;
  readonly share: number;
}

/** The one value that docs/adr/0019 has measurements for. */
const DAMPING = 0.05;

/**
 * The weight that a quantizer is to come close to when its input is not the original one any more: part of the way from W to the
 * ridge regression of y on x that is centred on W,
 *
 *   W* = (1 - α) W + α (E[y xᵀ] + δ W) (H + δ I)⁻¹,   δ = λ mean(diag H)
 *
 * which is W + α E[(y - W x) xᵀ] (H + δ I)⁻¹. With y = W x₀ that is the objective of GPTAQ (Li et al., arXiv 2504.02692) and Qronos
 * (arXiv 2505.11695); the hidden state comes in with LoaQ (Lin, Wan, arXiv 2509.06297). Rows do not depend on one another.
 *
 * @returns `[rows, columns]`; W itself where H cannot be factorized even with a damping of almost 1, or is zero.
 */
export async function mismatchTarget(
  { weight, wanted, rows, hessian, share, damping = DAMPING }: MismatchedRows,
  pool: SolverPool,
  signal?: AbortSignal,
): Promise<Float32Array> {
  const { columns, scale } = hessian;
  const recipe: Pick<Recipe, 'method' | 'actOrder' | 'damping'> = { method: 'gptq', actOrder: 'none', damping };
  const solvable = await hessian.solvable(recipe, pool, signal);
  const damped = solvable?.rung === 'as-asked' || solvable?.rung === 'more-damping';
  if (!solvable?.problem.factor || !damped) return weight;
  const { factor, dead } = solvable.problem;
  const task = { weight, wanted, rows, columns, factor, dead, scale, ridge: ridgeOf(solvable, columns), share };
  return pool.mismatchTarget(task, signal);
}

function ridgeOf({ problem: { hessian, dead }, damping }: Solvable, columns: number): number {
  let [trace, live] = [0, 0];
  for (let i = 0; i < columns; i++) {
    if (dead[i]) continue;
    trace += hessian[i * (columns + 1)] as number;
    live += 1;
  }
  return (damping * trace) / live;
}

/** Rows that are multiplied at a time. */
const ROWS_AT_ONCE = 48;

/** In TypeScript, on the calling thread. */
export function mismatchTargetOf(task: MismatchTask): Float32Array {
  const { weight, wanted, rows, columns, factor, dead, scale, ridge, share } = task;
  const transposed = new Float64Array(columns * columns);
  for (let i = 0; i < columns; i++) {
    for (let j = 0; j <= i; j++) transposed[j * columns + i] = factor[i * columns + j] as number;
  }
  const target = new Float32Array(rows * columns);
  for (let first = 0; first < rows; first += ROWS_AT_ONCE) {
    const count = Math.min(ROWS_AT_ONCE, rows - first);
    const start = first * columns;
    const part = Float64Array.from({ length: count * columns }, (_, i) => {
      // The made-up 1 of a dead column: so its weight stays.
      const held = ridge + (dead[i % columns] as number);
      return (wanted[start + i] as number) * scale + held * (weight[start + i] as number);
    });
    const half = new Float64Array(part.length);
    const whole = new Float64Array(part.length);
    // The product is one with a transpose, and subtracts: twice, and the sign is right again.
    subtractProduct(matrix(half, columns), matrix(part, columns), matrix(transposed, columns), count, columns, columns);
    subtractProduct(matrix(whole, columns), matrix(half, columns), matrix(factor, columns), count, columns, columns);
    for (let i = 0; i < whole.length; i++) {
      target[start + i] = (1 - share) * (weight[start + i] as number) + share * (whole[i] as number);
    }
  }
  return target;
}

function matrix(data: Float64Array, stride: number) {
  return { data, offset: 0, stride };
}
