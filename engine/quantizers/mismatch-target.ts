import { subtractProduct } from '../kernels/subtract-product';
import type { Recipe } from '../spec';
import type { Factorized, PreparedHessian } from './prepare-hessian';
import type { SolverPool } from './solver-pool';

/** What some tokens say of a linear's mismatch: all of them, or fewer than the Hessian is the mean over. */
export interface Mismatch {
  /**
   * By half of the tokens, `[rows, columns]` each: E[e xᵀ], e what is missing behind the linear: for one whose output is added to a hidden
   * state, what the original model has there less what there is, (h₀ + W x₀) - (h + W x).
   */
  readonly missing: readonly [Float32Array, Float32Array];
  /** `[columns, columns]`: E[x xᵀ] over these tokens; null where they are those of the Hessian. */
  readonly hessian: Float32Array | null;
}

export interface MismatchedRows {
  /** `[rows, columns]`: some rows of W. Not changed. */
  readonly weight: Float32Array;
  readonly rows: number;
  readonly mismatch: Mismatch;
  /** H = E[x xᵀ] of the input x behind quantized layers, over all tokens. */
  readonly hessian: PreparedHessian;
  /** `mismatch`: how much of what is missing is made up for, as far as it is known: α. The rest is how the quantizer factorizes M. */
  readonly recipe: Factorized & Pick<Recipe, 'mismatch'>;
}

/** What some rows are solved with, anywhere. */
export interface MismatchTask {
  /** `[rows, columns]`. */
  readonly weight: Float32Array;
  readonly missing: Mismatch['missing'];
  readonly rows: number;
  readonly columns: number;
  /** `[columns, columns]`, lower triangular: F with F Fᵀ = (M + δ I)⁻¹, M scaled, its columns in `order`. */
  readonly factor: Float64Array;
  /** `[columns]`: the column at each place. */
  readonly order: Int32Array;
  /** What M is scaled by. */
  readonly scale: number;
  readonly share: number;
}

/**
 * The weight that a quantizer is to come close to when its input is not the original one any more: W and a part of the ridge
 * regression of what is missing on x,
 *
 *   W* = W + α r ∘ Δ,   Δ = E[e xᵀ] (M + δ I)⁻¹,   M = (1 - β) Hₛ + β H,   δ: the quantizer's own damping
 *
 * Hₛ is the mean over the tokens that e is known for, H that over all, and β = ½: where an input varies s times as much over the few as over all, its part
 * of Δ is s / ((1 - β) s + β) of what it should be, less than 1 / (1 - β). With α = ½ nothing overshoots.
 *
 * With e = W (x₀ - x) that is the objective of GPTAQ (Li et al., arXiv 2504.02692) and Qronos (arXiv 2505.11695); the hidden state comes in
 * with LoaQ (Lin, Wan, arXiv 2509.06297). Where an input was always zero, e xᵀ is, and the weight stays.
 *
 * Over few tokens Δ is mostly noise, and noise that every layer adds grows from layer to layer. How much of a row of Δ is to be believed, r, is
 * what both halves of the tokens say of it: with Δ₁ and Δ₂ from either, whose noise is independent, ⟨Δ₁, Δ₂⟩ estimates the energy of the signal
 * without bias, ⟨Δ, Δ⟩ that of signal and noise, under the metric M + δ I; r is their ratio, 0 to 1 (shrinkage by split-half reliability).
 * With F Fᵀ = (M + δ I)⁻¹ and the sums E₁ and E₂ of the halves that is 1 - ‖(E₁ - E₂) F‖² / ‖(E₁ + E₂) F‖². Rows do not depend on one another.
 *
 * @returns `[rows, columns]`; W itself where M cannot be factorized even with a damping of almost 1, or is zero.
 */
export async function mismatchTarget(
  { weight, mismatch: { missing, hessian: seen }, rows, hessian, recipe }: MismatchedRows,
  pool: SolverPool,
  signal?: AbortSignal,
): Promise<Float32Array> {
  const { columns, scale } = hessian;
  const mixed = seen ? await hessian.mixedWith(seen, ALL_TOKENS_SHARE) : hessian;
  const solvable = await mixed.solvable(recipe, pool, signal);
  const damped = solvable?.rung === 'as-asked' || solvable?.rung === 'more-damping';
  if (!solvable?.problem.factor || !damped) return weight;
  const { factor, outerOrder, solveOrder } = solvable.problem;
  const order = solveOrder.map((place) => outerOrder[place] as number);
  const share = recipe.mismatch ?? 0;
  return pool.mismatchTarget({ weight, missing, rows, columns, factor, order, scale, share }, signal);
}

/**
 * β. Over few tokens some inputs vary far more than over all: most tokens that excite them may be among the few. With a metric of all tokens alone
 * their part of Δ would be too large by that factor, and so would be what the next layer finds wrong.
 */
const ALL_TOKENS_SHARE = 0.5;

/** Rows that are multiplied at a time. */
const ROWS_AT_ONCE = 48;

/** In TypeScript, on the calling thread. */
export function mismatchTargetOf({ weight, missing, rows, ...task }: MismatchTask): Float32Array {
  const { columns, factor, order, scale, share } = task;
  const transposed = new Float64Array(columns * columns);
  for (let i = 0; i < columns; i++) {
    for (let j = 0; j <= i; j++) transposed[j * columns + i] = factor[i * columns + j] as number;
  }
  const target = weight.slice();
  for (let first = 0; first < rows; first += ROWS_AT_ONCE) {
    const count = Math.min(ROWS_AT_ONCE, rows - first);
    const begin = first * columns;
    /** E₁ ± E₂, in the order of the factor. */
    const combined = (sign: 1 | -1) =>
      Float64Array.from({ length: count * columns }, (_, i) => {
        const at = begin + i - (i % columns) + (order[i % columns] as number);
        return ((missing[0][at] as number) + sign * (missing[1][at] as number)) * scale;
      });
    // Products are with a transpose, and subtract: signs are of no matter, or twice the same.
    const sums = timesTransposeOf(transposed, combined(1), count);
    const differences = timesTransposeOf(transposed, combined(-1), count);
    const moves = timesTransposeOf(factor, sums, count);
    for (let row = 0; row < count; row++) {
      const start = row * columns;
      const moved = (share * reliability(sums, differences, start, columns)) / 2;
      for (let j = 0; j < columns; j++) {
        const at = begin + start + (order[j] as number);
        target[at] = (target[at] as number) + moved * (moves[start + j] as number);
      }
    }
  }
  return target;

  /** `-a matrixᵀ`. */
  function timesTransposeOf(matrix: Float64Array, a: Float64Array, count: number): Float64Array {
    const product = new Float64Array(a.length);
    subtractProduct(strided(product, columns), strided(a, columns), strided(matrix, columns), count, columns, columns);
    return product;
  }
}

/** 1 - ‖differences‖² / ‖sums‖² of a row, not below 0. */
function reliability(sums: Float64Array, differences: Float64Array, start: number, columns: number): number {
  let [all, noise] = [0, 0];
  for (let at = start; at < start + columns; at++) {
    all += (sums[at] as number) ** 2;
    noise += (differences[at] as number) ** 2;
  }
  return noise < all ? 1 - noise / all : 0;
}

function strided(data: Float64Array, stride: number) {
  return { data, offset: 0, stride };
}
