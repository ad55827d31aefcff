import { setImmediate } from 'node:timers/promises';
import type { Mismatch, TokenSum } from './mismatch-target';

/** Eᵀ X of one slice of the calibration set, e what is missing (Mismatch), and XᵀX. */
export interface PartialMismatch {
  /** `[2, rows, columns]`: Σ e xᵀ over the slice's even sequences, and over the odd ones. */
  readonly sum: Float32Array;
  /** `[columns, columns]`: Σ x xᵀ over both; null, in every slice, where the Hessian is over these very tokens. */
  readonly gram: Float32Array | null;
  /** Of either. */
  readonly tokens: readonly [number, number];
}

export interface MergeMismatchesOptions {
  /** So many bytes, of any content. Default: memory of its own. */
  readonly take?: (bytes: number) => ArrayBufferLike;
}

/** Numbers that are added before the event loop gets a turn. */
const NUMBERS_PER_TURN = 1 << 22;

/**
 * Sums over all slices, in the given order: float32, as slices are sums of whole slices' tokens already. Halves change places from slice to slice, so
 * that there are two when every slice is one sequence.
 *
 * @param partials taken one after the other; they may share memory. Their order decides the last bits.
 */
export async function mergeMismatches(
  partials: Iterable<PartialMismatch> | AsyncIterable<PartialMismatch>,
  { take = (bytes) => new ArrayBuffer(bytes) }: MergeMismatchesOptions = {},
): Promise<Mismatch> {
  const empty = () => new GrowingSum(take);
  const halves = [empty(), empty()] as const;
  const squares = empty();
  let slice = 0;
  for await (const { sum, gram, tokens } of partials) {
    const length = sum.length / 2;
    await halves[slice % 2 === 0 ? 0 : 1].add(sum.subarray(0, length), tokens[0]);
    await halves[slice % 2 === 0 ? 1 : 0].add(sum.subarray(length), tokens[1]);
    if (gram) await squares.add(gram, tokens[0] + tokens[1]);
    slice += 1;
  }
  const [one, other] = halves;
  // Plain data: it goes to other threads.
  return { missing: [one.total(), other.total()], squares: squares.sum.length > 0 ? squares.total() : null };
}

class GrowingSum {
  sum = new Float32Array(0);
  tokens = 0;

  constructor(private readonly take: (bytes: number) => ArrayBufferLike) {}

  async add(part: Float32Array, tokens: number): Promise<void> {
    this.tokens += tokens;
    if (this.sum.length === 0) {
      this.sum = new Float32Array(this.take(part.byteLength) as ArrayBuffer, 0, part.length);
      this.sum.set(part);
      return;
    }
    const { sum } = this;
    for (let start = 0; start < sum.length; start += NUMBERS_PER_TURN) {
      const stop = Math.min(start + NUMBERS_PER_TURN, sum.length);
      for (let i = start; i < stop; i++) sum[i] = (sum[i] as number) + (part[i] as number);
      await setImmediate();
    }
  }

  total(): TokenSum {
    return { sum: this.sum, tokens: this.tokens };
  }
}
