import { setImmediate } from 'node:timers/promises';
import { placeOf } from './codebooks';

/** Numbers between two turns of the event loop. */
const NUMBERS_PER_TURN = 1 << 18;

/** The least magnitude that is divided by. */
const LEAST = Math.fround(1e-38);

export interface BlocksToQuantize {
  readonly values: Float32Array;
  readonly blockSize: number;
  /** Rising, in float32: what lies on one goes to the lower level. */
  readonly bounds: Float32Array;
  /** Code of each level, from the lowest up. */
  readonly codes: Uint8Array;
  readonly signal?: AbortSignal;
}

/**
 * Scales every block of numbers to [-1, 1] by its largest magnitude, and rounds to the nearest of some levels, each step in float32, as
 * bitsandbytes' portable kernels do (`quantize_4bit`, `quantize_blockwise` of its default backend). A last block that is not full is divided
 * by its magnitude; the others are multiplied by its reciprocal.
 *
 * @throws the signal's reason when it aborts.
 */
export async function quantizeBlocks({
  values,
  blockSize,
  bounds,
  codes: codeOf,
  signal,
}: BlocksToQuantize): Promise<{ codes: Uint8Array; absmax: Float32Array }> {
  const codes = new Uint8Array(values.length);
  const absmax = new Float32Array(Math.ceil(values.length / blockSize));
  let sinceTurn = 0;
  for (let block = 0; block < absmax.length; block++) {
    const first = block * blockSize;
    const last = Math.min(first + blockSize, values.length);
    let most = 0;
    for (let at = first; at < last; at++) most = Math.max(most, Math.abs(values[at] as number));
    const full = last - first === blockSize;
    const least = Math.max(most, LEAST);
    absmax[block] = full ? most : least;
    const reciprocal = Math.fround(1 / least);
    for (let at = first; at < last; at++) {
      const value = values[at] as number;
      const scaled = Math.fround(full ? value * reciprocal : value / least);
      codes[at] = codeOf[placeOf(Math.max(-1, Math.min(1, scaled)), bounds)] as number;
    }
    sinceTurn += blockSize;
    if (sinceTurn < NUMBERS_PER_TURN) continue;
    sinceTurn = 0;
    await setImmediate();
    signal?.throwIfAborted();
  }
  return { codes, absmax };
}
