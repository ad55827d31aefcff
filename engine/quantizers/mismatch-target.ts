import { subtractProduct } from '../kernels/subtract-product';
import type { Recipe } from '../spec';
import type { PreparedHessian } from './prepare-hessian';
import type { SolverPool } from './solver-pool';

/**
 * By half of the tokens, `[rows, columns]` each: E[e xᵀ], e what is missing behind the linear: for one whose output is added to a hidden
 * state, what the original model has there less what there is, (h₀ + W x₀) - (h + W x). They may be fewer tokens than H is the mean over.
 */
export type MissingHalves = readonly [Float32Array, Float32Array];

/** What mergeMismatches gives, `[2, rows, columns]`, by halves. Views. */
export function missingHalves(means: Float32Array): MissingHalves {
  return [means.subarray(0, means.length / 2), means.subarray(means.length / 2)];
}

export interface MismatchedRows {
  /** `[rows, columns]`: some rows of W. Not changed. */
  readonly weight: Float32Array;
  readonly rows: number;
  readonly missing: MissingHalves;
  /** H = E[x xᵀ] of the input x behind quantized layers. */
  readonly hessian: PreparedHessian;
  /** How much of what is missing is made up for, as far as it is known: α, 0 to 1. */
  readonly share: number;
  /** Share of the mean live diagonal of H that holds the regression back: λ. Default 0.05. */
  readonly damping?: number;
}

/** What some rows are solved with, anywhere. */
export interface MismatchTask {
  /** `[rows, columns]`. */
  readonly weight: Float32Array;
  readonly missing: MissingHalves;
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
 *   W* = W + α r ∘ Δ,   Δ = E[e xᵀ] (H + δ I)⁻¹,   δ = λ mean(diag H)
 *
 * With e = W (x₀ - x) that is the objective of GPTAQ (Li et al., arXiv 2504.02692) and Qronos (arXiv 2505.11695); the hidden state comes in
 * with LoaQ (Lin, Wan, arXiv 2509.06297). Where an input was always zero, e xᵀ is, and the weight stays.
 *
 * Over few tokens Δ is mostly noise, and noise that every layer adds grows from layer to layer. How much of a row of Δ is to be believed, r, is
 * what both halves of the tokens say of it: with Δ₁ and Δ₂ from either, whose noise is independent, ⟨Δ₁, Δ₂⟩ estimates the energy of the signal
 * without bias, ⟨Δ, Δ⟩ that of signal and noise, under the metric H + δ I; r is their ratio, 0 to 1 (shrinkage by split-half reliability).
 * Rows do not depend on one another.
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
export function mismatchTargetOf({ weight, missing, rows, ...task }: MismatchTask): Float32Array {
  const { columns, factor, scale, share } = task;
  const transposed = new Float64Array(columns * columns);
  for (let i = 0; i < columns; i++) {
    for (let j = 0; j <= i; j++) transposed[j * columns + i] = factor[i * columns + j] as number;
  }
  const target = new Float32Array(rows * columns);
  for (let first = 0; first < rows; first += ROWS_AT_ONCE) {
    const count = Math.min(ROWS_AT_ONCE, rows - first);
    const begin = first * columns;
    const halves = missing.map((half) => {
      const given = Float64Array.from(half.subarray(begin, begin + count * columns), (value) => value * scale);
      return { given, solved: solved(given, count) };
    });
    for (let row = 0; row < count; row++) {
      const [one, other] = halves.map(({ given, solved }) => {
        const part = (array: Float64Array) => array.subarray(row * columns, (row + 1) * columns);
        return { given: part(given), solved: part(solved) };
      }) as [SolvedRow, SolvedRow];
      const moved = share * reliability(one, other);
      const start = begin + row * columns;
      for (let j = 0; j < columns; j++) {
        const mean = ((one.solved[j] as number) + (other.solved[j] as number)) / 2;
        target[start + j] = (weight[start + j] as number) + moved * mean;
      }
    }
  }
  return target;

  /** Times (H + δ I)⁻¹. */
  function solved(given: Float64Array, count: number): Float64Array {
    const half = new Float64Array(given.length);
    const whole = new Float64Array(given.length);
    // The product is one with a transpose, and subtracts: twice, and the sign is right again.
    subtractProduct(
      matrix(half, columns),
      matrix(given, columns),
      matrix(transposed, columns),
      count,
      columns,
      columns,
    );
    subtractProduct(matrix(whole, columns), matrix(half, columns), matrix(factor, columns), count, columns, columns);
    return whole;
  }
}

/** A row of E[e xᵀ], and of Δ, from one half of the tokens. */
interface SolvedRow {
  readonly given: Float64Array;
  readonly solved: Float64Array;
}

function reliability(one: SolvedRow, other: SolvedRow): number {
  let [signal, all] = [0, 0];
  for (let j = 0; j < one.given.length; j++) {
    const [given1, given2] = [one.given[j] as number, other.given[j] as number];
    signal += (one.solved[j] as number) * given2;
    all += ((one.solved[j] as number) + (other.solved[j] as number)) * (given1 + given2);
  }
  const ratio = (4 * signal) / all;
  return ratio > 0 ? Math.min(1, ratio) : 0;
}

function matrix(data: Float64Array, stride: number) {
  return { data, offset: 0, stride };
}
