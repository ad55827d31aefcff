import { setImmediate } from 'node:timers/promises';
import { selectKernels } from '../kernels';

/** Eᵀ X of one slice of the calibration set, e what is missing (MissingHalves). */
export interface PartialMismatch {
  /** `[2, rows, columns]`: Σ e xᵀ over the slice's even sequences, and over the odd ones. */
  readonly sum: Float32Array;
  /** Of either. */
  readonly tokens: readonly [number, number];
}

/** Numbers that are divided before the event loop gets a turn. */
const NUMBERS_PER_TURN = 1 << 22;

/**
 * Mean of e xᵀ per token over all slices, `[2, rows, columns]`, by half of their tokens: float64 sums in the given order. Halves change places
 * from slice to slice, so that there are two when every slice is one sequence. A half without any token is zero: then nothing is known.
 *
 * @param partials taken one after the other. Their order decides the last bits.
 */
export async function mergeMismatches(
  partials: Iterable<PartialMismatch> | AsyncIterable<PartialMismatch>,
  { threads = 1, native = selectKernels().native } = {},
): Promise<Float32Array> {
  let totals: [Float64Array, Float64Array] | null = null;
  const tokens = [0, 0];
  let slice = 0;
  for await (const { sum, tokens: counts } of partials) {
    const length = sum.length / 2;
    totals ??= [new Float64Array(length), new Float64Array(length)];
    for (const half of [0, 1] as const) {
      const place = ((half + slice) % 2) as 0 | 1;
      const total = totals[place];
      const part = sum.subarray(half * length, (half + 1) * length);
      if (native) await native.addPartial(total, part, threads);
      else for (let i = 0; i < length; i++) total[i] = (total[i] as number) + (part[i] as number);
      tokens[place] = (tokens[place] as number) + counts[half];
      await setImmediate();
    }
    slice += 1;
  }
  const [one, other] = totals ?? [new Float64Array(0), new Float64Array(0)];
  const mean = new Float32Array(one.length + other.length);
  for (const [total, count, start] of [
    [one, tokens[0] as number, 0],
    [other, tokens[1] as number, one.length],
  ] as const) {
    if (count > 0) await divide(total, count, mean.subarray(start, start + total.length));
  }
  return mean;
}

async function divide(sums: Float64Array, count: number, means: Float32Array): Promise<void> {
  for (let first = 0; first < sums.length; first += NUMBERS_PER_TURN) {
    const last = Math.min(first + NUMBERS_PER_TURN, sums.length);
    for (let i = first; i < last; i++) means[i] = (sums[i] as number) / count;
    await setImmediate();
  }
}
