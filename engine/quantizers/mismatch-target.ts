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
  /**
   * `[rows, columns]`: E[y xᵀ], y what the linear had to give for everything to be right again behind it: W x₀ with the input x₀ of
   * the original model; for a linear whose output is added to a hidden state, the original's sum less the hidden state at hand,
   * (h₀ + W x₀) - h. Without the bias.
   */
  readonly wanted: Float64Array | Float32Array;
  /** How much of the way from W to what is wanted: α, 0 to 1. */
  readonly share: number;
  /** Share of the mean Hessian diagonal that holds the regression back: λ. */
  readonly damping: number;
}

/** Rows that are solved before the event loop gets a turn. */
const ROWS_PER_TURN = 48;

/**
 * The weight that a quantizer is to come close to when its input is not the original one any more: part of the way from W to the
 * ridge regression of y on x that is centred on W,
 *
 *   W* = (1 - α) W + α (E[y xᵀ] + δ W) (H + δ I)⁻¹,   δ = λ mean(diag H)
 *
 * which is W + α E[(y - W x) xᵀ] (H + δ I)⁻¹. With y = W x₀ that is the objective of GPTAQ (Li et al., arXiv 2504.02692) and Qronos
 * (arXiv 2505.11695); the hidden state comes in with LoaQ (Lin, Wan, arXiv 2509.06297).
 *
 * @returns `[rows, columns]`.
 * @throws QuantloomError InvalidCalibration when the damped Hessian is not positive definite. The signal's reason when aborted.
 */
export async function mismatchTarget(problem: MismatchedLinear, signal?: AbortSignal): Promise<Float32Array> {
  const { weight, wanted, rows, columns, share } = problem;
  const { factor, transposed, ridge } = dampedFactor(problem);
  const target = new Float32Array(weight);
  for (let first = 0; first < rows; first += ROWS_PER_TURN) {
    await setImmediate();
    signal?.throwIfAborted();
    const count = Math.min(ROWS_PER_TURN, rows - first);
    const start = first * columns;
    const part = Float64Array.from(
      { length: count * columns },
      (_, i) => (wanted[start + i] as number) + ridge * (weight[start + i] as number),
    );
    const half = new Float64Array(part.length);
    const whole = new Float64Array(part.length);
    // The product subtracts: twice, and the sign is right again.
    subtractProduct(matrix(half, columns), matrix(part, columns), matrix(transposed, columns), count, columns, columns);
    subtractProduct(matrix(whole, columns), matrix(half, columns), matrix(factor, columns), count, columns, columns);
    for (let i = 0; i < whole.length; i++) {
      target[start + i] = (1 - share) * (weight[start + i] as number) + share * (whole[i] as number);
    }
  }
  return target;
}

/** Y = L⁻ᵀ of the damped Hessian L Lᵀ, so that its inverse is Y Yᵀ; and Yᵀ. */
function dampedFactor({ hessian, columns, damping }: MismatchedLinear) {
  const damped = Float64Array.from(hessian);
  let trace = 0;
  for (let i = 0; i < columns; i++) trace += damped[i * (columns + 1)] as number;
  const ridge = (damping * trace) / columns;
  for (let i = 0; i < columns; i++) damped[i * (columns + 1)] = (damped[i * (columns + 1)] as number) + ridge;
  if (!cholesky(damped, columns)) {
    throw new QuantloomError(
      'InvalidCalibration',
      `The Hessian of ${columns} columns with a damping of ${damping} is not positive definite, so the mismatch cannot be ` +
        'corrected for. Use more calibration tokens or more damping.',
    );
  }
  const factor = new Float64Array(columns * columns);
  invertTriangle(damped, factor, columns);
  const transposed = new Float64Array(columns * columns);
  for (let i = 0; i < columns; i++) {
    for (let j = i; j < columns; j++) transposed[j * columns + i] = factor[i * columns + j] as number;
  }
  return { factor, transposed, ridge };
}

function matrix(data: Float64Array, stride: number) {
  return { data, offset: 0, stride };
}
