import { setImmediate } from 'node:timers/promises';
import type { OrthogonalBasis } from './orthogonal-basis';

/** Vectors that are transformed side by side: what fits the second-level cache in float64 for the sizes that models have. */
const STRIP = 16;
/** Numbers that are written before the event loop gets a turn. */
const NUMBERS_PER_TURN = 1 << 20;

/**
 * Turns every vector x along one axis of a tensor into x Q, in place. Sums in float64, each result rounded to float32 once.
 *
 * @param values `[outer, basis.size, inner]`; the axis in the middle is the one that turns, so inner = 1 turns rows.
 * @throws RangeError when the values are not whole vectors. The signal's reason when it is aborted.
 */
export async function changeBasis(
  values: Float32Array,
  basis: OrthogonalBasis,
  { inner = 1, signal }: { readonly inner?: number; readonly signal?: AbortSignal } = {},
): Promise<void> {
  const { size } = basis;
  const outer = values.length / (size * inner);
  if (!Number.isInteger(outer)) {
    throw new RangeError(`${values.length} values are no [any, ${size}, ${inner}] tensor`);
  }
  const vectors = outer * inner;
  const input = new Float64Array(size * STRIP);
  const output = new Float64Array(size * STRIP);
  let sinceTurn = 0;
  for (let first = 0; first < vectors; first += STRIP) {
    const width = Math.min(STRIP, vectors - first);
    const starts = Array.from({ length: width }, (_, lane) => startOf(first + lane, size, inner));
    gather(values, starts, inner, basis.signs, input);
    transform(input, output, basis);
    scatter(output, starts, inner, size, values);
    sinceTurn += size * width;
    if (sinceTurn < NUMBERS_PER_TURN) continue;
    sinceTurn = 0;
    await setImmediate();
    signal?.throwIfAborted();
  }
}

/** Index of a vector's first element. */
function startOf(vector: number, size: number, inner: number): number {
  return Math.floor(vector / inner) * size * inner + (vector % inner);
}

/** `strip` [size, STRIP] = signs · values, a vector per column. */
function gather(
  values: Float32Array,
  starts: readonly number[],
  step: number,
  signs: Int8Array,
  strip: Float64Array,
): void {
  starts.forEach((start, lane) => {
    for (let i = 0; i < signs.length; i++) {
      strip[i * STRIP + lane] = (signs[i] as number) * (values[start + i * step] as number);
    }
  });
}

function scatter(
  strip: Float64Array,
  starts: readonly number[],
  step: number,
  size: number,
  values: Float32Array,
): void {
  starts.forEach((start, lane) => {
    for (let i = 0; i < size; i++) values[start + i * step] = strip[i * STRIP + lane] as number;
  });
}

/** Every column of the strip, seen as `[doublings, factorSize]`: butterflies over the first axis, the dense factor over the second. */
function transform(strip: Float64Array, output: Float64Array, basis: OrthogonalBasis): void {
  const { doublings, factorSize, factor } = basis;
  const row = factorSize * STRIP;
  for (let half = 1; half < doublings; half *= 2) {
    for (let begin = 0; begin < doublings; begin += 2 * half) {
      const end = (begin + half) * row;
      for (let low = begin * row; low < end; low++) {
        const high = low + half * row;
        const a = strip[low] as number;
        const b = strip[high] as number;
        strip[low] = a + b;
        strip[high] = a - b;
      }
    }
  }
  for (let block = 0; block < doublings; block++) {
    const offset = block * row;
    for (let to = 0; to < factorSize; to++) {
      for (let lane = 0; lane < STRIP; lane += 4) multiply(strip, offset + lane, factor, to, factorSize, output);
    }
  }
}

/** Four lanes of `output[to] = Σ factor[from, to] · strip[from]`, each number loaded once. */
function multiply(
  strip: Float64Array,
  offset: number,
  factor: Float64Array,
  to: number,
  factorSize: number,
  output: Float64Array,
): void {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  for (let from = 0; from < factorSize; from++) {
    const weight = factor[from * factorSize + to] as number;
    const at = offset + from * STRIP;
    s0 += weight * (strip[at] as number);
    s1 += weight * (strip[at + 1] as number);
    s2 += weight * (strip[at + 2] as number);
    s3 += weight * (strip[at + 3] as number);
  }
  const target = offset + to * STRIP;
  output[target] = s0;
  output[target + 1] = s1;
  output[target + 2] = s2;
  output[target + 3] = s3;
}
