import { setImmediate } from 'node:timers/promises';
import { type NativeAddon, selectKernels } from '../kernels';
import type { MergeOptions } from './merge-hessians';
import type { Mismatch } from './mismatch-target';

/** Eᵀ X of one slice of the calibration set, e what is missing (Mismatch), and XᵀX. */
export interface PartialMismatch {
  /** `[2, rows, columns]`: Σ e xᵀ over the slice's even sequences, and over the odd ones. */
  readonly sum: Float32Array;
  /** `[columns, columns]`: Σ x xᵀ over both; null, in every slice, where the Hessian is over these very tokens. */
  readonly gram: Float32Array | null;
  /** Of either. */
  readonly tokens: readonly [number, number];
}

/** Numbers that are divided before the event loop gets a turn. */
const NUMBERS_PER_TURN = 1 << 22;

/**
 * Means per token over all slices: float64 sums in the given order. Halves change places from slice to slice, so that there are two when every
 * slice is one sequence. A half without any token is zero: then nothing is known.
 *
 * @param partials taken one after the other. Their order decides the last bits.
 */
export async function mergeMismatches(
  partials: Iterable<PartialMismatch> | AsyncIterable<PartialMismatch>,
  { threads = 1, native = selectKernels().native }: Pick<MergeOptions, 'threads' | 'native'> = {},
): Promise<Mismatch> {
  const mean = () => new TokenMean(threads, native);
  const halves = [mean(), mean()] as const;
  const squares = mean();
  let slice = 0;
  for await (const { sum, gram, tokens } of partials) {
    const length = sum.length / 2;
    await halves[slice % 2 === 0 ? 0 : 1].add(sum.subarray(0, length), tokens[0]);
    await halves[slice % 2 === 0 ? 1 : 0].add(sum.subarray(length), tokens[1]);
    if (gram) await squares.add(gram, tokens[0] + tokens[1]);
    slice += 1;
  }
  const hessian = await squares.value();
  return { missing: [await halves[0].value(), await halves[1].value()], hessian: hessian.length > 0 ? hessian : null };
}

class TokenMean {
  private sums = new Float64Array(0);
  private tokens = 0;

  constructor(
    private readonly threads: number,
    private readonly native: NativeAddon | null,
  ) {}

  async add(part: Float32Array, tokens: number): Promise<void> {
    if (this.sums.length === 0) this.sums = new Float64Array(part.length);
    const { sums, native } = this;
    if (native) await native.addPartial(sums, part, this.threads);
    else for (let i = 0; i < sums.length; i++) sums[i] = (sums[i] as number) + (part[i] as number);
    this.tokens += tokens;
    await setImmediate();
  }

  async value(): Promise<Float32Array> {
    const { sums, tokens } = this;
    const means = new Float32Array(sums.length);
    if (tokens === 0) return means;
    for (let first = 0; first < sums.length; first += NUMBERS_PER_TURN) {
      const last = Math.min(first + NUMBERS_PER_TURN, sums.length);
      for (let i = first; i < last; i++) means[i] = (sums[i] as number) / tokens;
      await setImmediate();
    }
    return means;
  }
}
