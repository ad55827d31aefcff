import { setImmediate } from 'node:timers/promises';
import { cholesky, invertTriangle } from '../kernels/inverse-factor';
import { subtractProduct } from '../kernels/subtract-product';
import { QuantloomError } from '../spec';

export interface MismatchedLinear {
  /** `[rows, columns]`: W. It is not changed. */
  readonly weight: Float32Array;
  readonly rows: number;
  readonly columns: number;
  /** `[columns, columns]`: H = E[x xᵀ] of the input x behind quantized layers. */
  readonly hessian: Float64Array | Float32Array;
  /** `[columns, columns]`: E[(x₀ - x) xᵀ], x₀ the same input in the original model. null: not corrected for. */
  readonly inputMismatch: Float64Array | Float32Array | null;
  /**
   * `[rows, columns]`: E[(h₀ - h) xᵀ], h the hidden state that the linear's output is added to (o_proj, down_proj). null: there is
   * none, or it is not corrected for.
   */
  readonly residualMismatch: Float64Array | Float32Array | null;
  /** Share of the correction for the input, 0 to 1. */
  readonly inputShare: number;
  /** Share of the correction for the residual, 0 to 1. */
  readonly residualShare: number;
  /** Share of the mean Hessian diagonal that is added to the diagonal in the regression. */
  readonly damping: number;
}

/**
 * The weight that a quantizer is to come close to when its inputs are not the original ones any more:
 *
 *   W* = W + (α W E[(x₀ - x) xᵀ] + β E[(h₀ - h) xᵀ]) (H + λ mean(diag H) I)⁻¹
 *
 * With α = β = 1 and λ = 0 it is the least-squares solution of h + W* x = h₀ + W x₀. For β = 0 that is the objective of GPTAQ (Li et
 * al., arXiv 2504.02692) and Qronos (arXiv 2505.11695); the residual comes in with LoaQ (Lin, Wan, arXiv 2509.06297).
 *
 * @returns `[rows, columns]`.
 * @throws QuantloomError InvalidCalibration when the damped Hessian is not positive definite. The signal's reason when aborted.
 */
export async function mismatchTarget(problem: MismatchedLinear, signal?: AbortSignal): Promise<Float32Array> {
  const { weight, rows, columns, hessian } = problem;
  const correction = await correctionOf(problem);
  const inverse = dampedFactor(hessian, columns, problem.damping);
  const target = new Float32Array(weight);
  // M H⁻¹ = (M Y) Yᵀ with H = L Lᵀ, Y = L⁻ᵀ, a few rows at a time so that the event loop turns.
  const transposed = transpose(inverse, columns);
  const rowsPerTurn = 48;
  for (let first = 0; first < rows; first += rowsPerTurn) {
    await setImmediate();
    signal?.throwIfAborted();
    const count = Math.min(rowsPerTurn, rows - first);
    const part = matrix(correction, columns, first * columns);
    const half = new Float64Array(count * columns);
    const whole = new Float64Array(count * columns);
    // The product subtracts: twice, and the sign is right again.
    subtractProduct(matrix(half, columns), part, matrix(transposed, columns), count, columns, columns);
    subtractProduct(matrix(whole, columns), matrix(half, columns), matrix(inverse, columns), count, columns, columns);
    for (let i = 0; i < whole.length; i++) {
      const at = first * columns + i;
      target[at] = (weight[at] as number) + (whole[i] as number);
    }
  }
  return target;
}

/** M = α W C + β R. */
async function correctionOf(problem: MismatchedLinear): Promise<Float64Array> {
  const { weight, rows, columns, inputMismatch, residualMismatch, inputShare, residualShare } = problem;
  const correction = new Float64Array(rows * columns);
  if (inputMismatch && inputShare !== 0) {
    const scaled = transpose(inputMismatch, columns).map((value) => -inputShare * value);
    const rowsPerTurn = 48;
    for (let first = 0; first < rows; first += rowsPerTurn) {
      await setImmediate();
      const count = Math.min(rowsPerTurn, rows - first);
      const part = Float64Array.from(weight.subarray(first * columns, (first + count) * columns));
      const into = matrix(correction, columns, first * columns);
      subtractProduct(into, matrix(part, columns), matrix(scaled, columns), count, columns, columns);
    }
  }
  if (residualMismatch && residualShare !== 0) {
    residualMismatch.forEach((value, at) => {
      correction[at] = (correction[at] as number) + residualShare * value;
    });
  }
  return correction;
}

/** Y = L⁻ᵀ of the damped Hessian L Lᵀ, so that its inverse is Y Yᵀ. A dead column (H_ii = 0) takes no part. */
function dampedFactor(hessian: MismatchedLinear['hessian'], columns: number, damping: number): Float64Array {
  const damped = Float64Array.from(hessian);
  let trace = 0;
  for (let i = 0; i < columns; i++) trace += damped[i * (columns + 1)] as number;
  for (let i = 0; i < columns; i++) {
    const at = i * (columns + 1);
    damped[at] = (damped[at] as number) + (damping * trace) / columns;
  }
  if (!cholesky(damped, columns)) {
    throw new QuantloomError(
      'InvalidCalibration',
      `The Hessian of ${columns} columns with a damping of ${damping} is not positive definite, so the mismatch cannot be ` +
        'corrected for. Use more calibration tokens or more damping.',
    );
  }
  const factor = new Float64Array(columns * columns);
  invertTriangle(damped, factor, columns);
  return factor;
}

function matrix(data: Float64Array, stride: number, offset = 0) {
  return { data, offset, stride };
}

function transpose(square: Float64Array | Float32Array, n: number): Float64Array {
  const result = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) result[j * n + i] = square[i * n + j] as number;
  return result;
}
