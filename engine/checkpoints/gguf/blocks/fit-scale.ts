import type { Levels } from './levels';

/** A stretch of a block: its weights, and what their squared errors weigh. */
export interface Stretch {
  readonly x: Float64Array;
  readonly weighting: Float64Array;
  readonly start: number;
  readonly count: number;
}

/** Where the largest weight is laid, in levels around the outermost one, before the least-squares scale is taken. */
const OFFSETS = [-0.8, -0.4, 0, 0.4, 0.8] as const;
const MOST_ROUNDS = 8;

/** What the last call of `sumsAt` found: `Σ w x q` and `Σ w q²`. */
let numerator = 0;
let denominator = 0;

/**
 * The scale s, of either sign, that makes `Σ w (x - s q)²` small, q the level next to x / s. A few starts, from which codes and
 * least-squares scale are improved in turn (Lloyd, 1982) until nothing changes. 0 for a stretch of zeros.
 */
export function fitScale(stretch: Stretch, levels: Levels): number {
  const extreme = extremeOf(stretch);
  if (extreme === 0) return 0;
  const stride = (levels.highest - levels.lowest) / (levels.count - 1);
  let best = 0;
  let gain = -1;
  for (const end of [levels.lowest, levels.highest]) {
    for (const offset of OFFSETS) {
      let inverse = (end + offset * stride) / extreme;
      let reached = -1;
      for (let round = 0; round < MOST_ROUNDS; round++) {
        sumsAt(stretch, inverse, levels);
        const now = denominator > 0 ? (numerator * numerator) / denominator : 0;
        if (now <= reached) break;
        reached = now;
        if (numerator === 0) break;
        if (now > gain) {
          gain = now;
          best = numerator / denominator;
        }
        inverse = denominator / numerator;
      }
    }
  }
  return best;
}

/** Writes the levels next to x / scale and returns `Σ w (x - scale q)²`. A scale of 0 leaves level 0. */
export function assignLevels(stretch: Stretch, scale: number, levels: Levels, assigned: Int8Array): number {
  const { x, weighting, start, count } = stretch;
  const { nearest, offset } = levels;
  const last = nearest.length - 1;
  const twice = scale === 0 ? 0 : 2 / scale;
  let error = 0;
  for (let i = start; i < start + count; i++) {
    const value = x[i] as number;
    const place = value * twice + offset;
    const level = scale === 0 ? 0 : (nearest[place < 0 ? 0 : place > last ? last : place | 0] as number);
    assigned[i] = level;
    const difference = value - scale * level;
    error += (weighting[i] as number) * difference * difference;
  }
  return error;
}

function sumsAt(stretch: Stretch, inverse: number, levels: Levels): void {
  const { x, weighting, start, count } = stretch;
  const { nearest, offset } = levels;
  const last = nearest.length - 1;
  const twice = 2 * inverse;
  let product = 0;
  let square = 0;
  for (let i = start; i < start + count; i++) {
    const value = x[i] as number;
    const place = value * twice + offset;
    const level = nearest[place < 0 ? 0 : place > last ? last : place | 0] as number;
    const weighted = (weighting[i] as number) * level;
    product += weighted * value;
    square += weighted * level;
  }
  numerator = product;
  denominator = square;
}

function extremeOf({ x, start, count }: Stretch): number {
  let extreme = 0;
  for (let i = start; i < start + count; i++) {
    if (Math.abs(x[i] as number) > Math.abs(extreme)) extreme = x[i] as number;
  }
  return extreme;
}
