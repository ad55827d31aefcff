/** A grid of real numbers that is given: group after group of a row, code q stands for `scale · levels[q] + offset`. Groups are contiguous. */
export interface RealGrid {
  readonly groupSize: number;
  /** Rising. */
  readonly levels: Float64Array;
  /** `[rows, groups]`, of either sign, or 0. */
  readonly scales: Float64Array;
  /** `[rows, groups]`. */
  readonly offsets: Float64Array;
}

/** The level next to x by bisection, as its code; the lower one where x is half way. */
export function nearestLevel(levels: Float64Array, x: number): number {
  let low = 0;
  let high = levels.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (x < (levels[middle] as number)) high = middle;
    else low = middle;
  }
  return x - (levels[low] as number) <= (levels[high] as number) - x ? low : high;
}

/** The code next to w in its group; 0 where the group is the same number throughout. */
export function nearestOnGrid({ levels, scales, offsets }: RealGrid, group: number, w: number): number {
  const scale = scales[group] as number;
  return scale === 0 ? 0 : nearestLevel(levels, (w - (offsets[group] as number)) / scale);
}

/** What a code of a group stands for. */
export function valueOnGrid({ levels, scales, offsets }: RealGrid, group: number, code: number): number {
  return (scales[group] as number) * (levels[code] as number) + (offsets[group] as number);
}
