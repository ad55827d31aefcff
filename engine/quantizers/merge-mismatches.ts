import { setImmediate } from 'node:timers/promises';
import { selectKernels } from '../kernels';
import { QuantloomError } from '../spec';

/** Eᵀ X of one slice of the calibration set, e what is missing (MismatchedRows). */
export interface PartialMismatch {
  /** `[rows, columns]`: Σ e xᵀ over the slice's tokens. */
  readonly sum: Float32Array;
  readonly tokens: number;
}

/** Numbers that are divided before the event loop gets a turn. */
const NUMBERS_PER_TURN = 1 << 22;

/**
 * Mean of e xᵀ per token over all slices: float64 sums in the given order.
 *
 * @param partials taken one after the other. Their order decides the last bits.
 * @throws QuantloomError InvalidCalibration without any token.
 */
export async function mergeMismatches(
  partials: Iterable<PartialMismatch> | AsyncIterable<PartialMismatch>,
  { threads = 1, native = selectKernels().native } = {},
): Promise<Float32Array> {
  let total: Float64Array | null = null;
  let tokens = 0;
  for await (const { sum, tokens: count } of partials) {
    total ??= new Float64Array(sum.length);
    if (native) await native.addPartial(total, sum, threads);
    else for (let i = 0; i < sum.length; i++) total[i] = (total[i] as number) + (sum[i] as number);
    tokens += count;
    await setImmediate();
  }
  if (!total || tokens === 0) {
    throw new QuantloomError('InvalidCalibration', 'No calibration tokens were counted, so no mismatch is known.');
  }
  const mean = new Float32Array(total.length);
  for (let first = 0; first < mean.length; first += NUMBERS_PER_TURN) {
    const last = Math.min(first + NUMBERS_PER_TURN, mean.length);
    for (let i = first; i < last; i++) mean[i] = (total[i] as number) / tokens;
    await setImmediate();
  }
  return mean;
}
