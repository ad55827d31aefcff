import { inverseFactor } from '../kernels/inverse-factor';
import { subtractProduct } from '../kernels/subtract-product';
import type { Recipe } from '../spec';
import type { PreparedHessian } from './prepare-hessian';
import type { SolverPool } from './solver-pool';

/** A sum over tokens. */
export interface TokenSum {
  readonly sum: Float32Array;
  /** 0: nothing is known. */
  readonly tokens: number;
}

/** What some tokens say of a linear's mismatch: all of them, or fewer than the Hessian is the mean over. */
export interface Mismatch {
  /**
   * By half of the tokens, `[rows, columns]` each: Σ e xᵀ, e what is missing behind the linear: for one whose output is added to a hidden
   * state, what the original model has there less what there is, (h₀ + W x₀) - (h + W x).
   */
  readonly missing: readonly [TokenSum, TokenSum];
  /** `[columns, columns]`: Σ x xᵀ over these tokens; null where they are those of the Hessian. */
  readonly squares: TokenSum | null;
}

export interface MismatchedRows {
  /** `[rows, columns]`: some rows of W. Not changed. */
  readonly weight: Float32Array;
  readonly rows: number;
  readonly mismatch: Mismatch;
  /** H = E[x xᵀ] of the input x behind quantized layers, over all tokens. */
  readonly hessian: PreparedHessian;
  /** `mismatch`: how much of what is missing is made up for, as far as it is known: α. */
  readonly recipe: Pick<Recipe, 'mismatch' | 'damping'>;
}

/** What some rows are solved with, anywhere. */
export interface MismatchTask extends Mismatch, Pick<PreparedHessian, 'columns' | 'scale' | 'dead'> {
  /** `[rows, columns]`. */
  readonly weight: Float32Array;
  readonly rows: number;
  /** `[columns, columns]`: H, scaled. */
  readonly hessian: Float64Array;
  /** β. */
  readonly allTokensShare: number;
  /** δ, in means of M's diagonal. */
  readonly damping: number;
  /** α. */
  readonly share: number;
}

/**
 * The weight that a quantizer is to come close to when its input is not the original one any more: W and a part of the ridge
 * regression of what is missing on x,
 *
 *   W* = W + α r ∘ Δ,   Δ = E[e xᵀ] (M + δ I)⁻¹,   M = (1 - β) Hₛ + β H,   δ: a share of M's mean diagonal, the quantizer's own damping
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
 * With F Fᵀ = (M + δ I)⁻¹ and the means E₁ and E₂ of the halves that is 1 - ‖(E₁ - E₂) F‖² / ‖(E₁ + E₂) F‖². Rows do not depend on one another.
 *
 * Where M + δ I cannot be factorized, δ grows.
 *
 * @returns `[rows, columns]`; W itself where no damping leads to a factor, or H is zero.
 */
export async function mismatchTarget(
  { weight, mismatch, rows, hessian, recipe }: MismatchedRows,
  pool: SolverPool,
  signal?: AbortSignal,
): Promise<Float32Array> {
  const { columns, values, scale, dead, deadColumns } = hessian;
  if (deadColumns === columns) return weight;
  const share = recipe.mismatch ?? 0;
  const problem = { ...mismatch, weight, rows, columns, hessian: values, scale, dead, share };
  for (const damping of [recipe.damping, ...MORE_DAMPING.filter((more) => more > recipe.damping)]) {
    const target = await pool.mismatchTarget({ ...problem, damping, allTokensShare: ALL_TOKENS_SHARE }, signal);
    if (target) return target;
  }
  return weight;
}

/**
 * β. Over few tokens some inputs vary far more than over all: most tokens that excite them may be among the few. With a metric of all tokens alone
 * their part of Δ would be too large by that factor, and so would be what the next layer finds wrong.
 */
const ALL_TOKENS_SHARE = 0.5;

/** In turns, where a factorization has failed. */
const MORE_DAMPING = [0.1, 1];

/** Rows that are multiplied at a time. */
const ROWS_AT_ONCE = 48;

/** In TypeScript, on the calling thread. null: M is not positive definite with so much damping. */
export function mismatchTargetOf(task: MismatchTask): Float32Array | null {
  const { weight, rows, columns, missing, scale, share } = task;
  const { matrix, roots } = equilibrated(task);
  const factor = new Float64Array(columns * columns);
  if (!roots.every(Number.isFinite) || !inverseFactor(matrix, factor, columns)) return null;
  const transposed = new Float64Array(columns * columns);
  for (let i = 0; i < columns; i++) {
    for (let j = 0; j <= i; j++) transposed[j * columns + i] = factor[i * columns + j] as number;
  }
  const [one, other] = missing.map(perToken) as [number, number];
  const target = weight.slice();
  for (let first = 0; first < rows; first += ROWS_AT_ONCE) {
    const count = Math.min(ROWS_AT_ONCE, rows - first);
    const begin = first * columns;
    /** E₁ ± E₂. */
    const combined = (sign: 1 | -1) =>
      Float64Array.from({ length: count * columns }, (_, i) => {
        const [even, odd] = missing.map(({ sum }) => sum[begin + i] as number) as [number, number];
        return (even * one + sign * odd * other) * scale * (roots[i % columns] as number);
      });
    // Products are with a transpose, and subtract: signs are of no matter, or twice the same.
    const sums = timesTransposeOf(transposed, combined(1), count);
    const differences = timesTransposeOf(transposed, combined(-1), count);
    const moves = timesTransposeOf(factor, sums, count);
    for (let row = 0; row < count; row++) {
      const start = row * columns;
      const moved = (share * reliability(sums, differences, start, columns)) / 2;
      for (let j = 0; j < columns; j++) {
        const at = begin + start + j;
        target[at] = (target[at] as number) + moved * (moves[start + j] as number) * (roots[j] as number);
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

/** R (M + δ I) R with R diagonal and ones on the diagonal of the result: few digits go far then. */
function equilibrated({ hessian, squares, columns, scale, dead, allTokensShare, damping }: MismatchTask) {
  const [of, weight] = squares
    ? [squares.sum, (1 - allTokensShare) * perToken(squares) * scale]
    : [hessian, 1 - allTokensShare];
  const mixed = (at: number) => weight * (of[at] as number) + allTokensShare * (hessian[at] as number);
  let [trace, live] = [0, 0];
  for (let i = 0; i < columns; i++) {
    if (dead[i]) continue;
    trace += mixed(i * (columns + 1));
    live += 1;
  }
  const ridge = (damping * trace) / live;
  const roots = Float64Array.from({ length: columns }, (_, i) => 1 / Math.sqrt(mixed(i * (columns + 1)) + ridge));
  const matrix = new Float64Array(columns * columns);
  for (let i = 0; i < columns; i++) {
    const row = i * columns;
    for (let j = 0; j < columns; j++) {
      matrix[row + j] = mixed(row + j) * (roots[i] as number) * (roots[j] as number);
    }
    matrix[row + i] = 1;
  }
  return { matrix, roots };
}

function perToken({ tokens }: TokenSum): number {
  return tokens > 0 ? 1 / tokens : 0;
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
