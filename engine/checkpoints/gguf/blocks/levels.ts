/** The integers from `lowest` on, so many. */
export function integersFrom(lowest: number, count: number): readonly number[] {
  return Array.from({ length: count }, (_, code) => lowest + code);
}

/** The values that a code can stand for, before its scale: integers from -128 to 127, rising. */
export interface Levels {
  readonly count: number;
  readonly lowest: number;
  readonly highest: number;
  /** The level next to x is `nearest[clamp(floor(2x) + offset, 0, nearest.length - 1)]`: all midpoints are multiples of 1/2. */
  readonly nearest: Int8Array;
  readonly offset: number;
  /** The code of a level is `codes[level + 128]`. */
  readonly codes: Uint8Array;
}

/** @param values rising integers from -128 to 127; the index of each is its code. */
export function levelsOf(values: ArrayLike<number>): Levels {
  const lowest = values[0] as number;
  const highest = values[values.length - 1] as number;
  const codes = new Uint8Array(256);
  for (let code = 0; code < values.length; code++) codes[(values[code] as number) + 128] = code;
  const nearest = new Int8Array(2 * (highest - lowest) + 1);
  let at = 0;
  for (let i = 0; i < nearest.length; i++) {
    // Everything in [lowest + i/2, lowest + (i+1)/2) is nearest to the same level.
    const middle = lowest + i / 2 + 0.25;
    while (at + 1 < values.length && middle - (values[at] as number) > (values[at + 1] as number) - middle) at++;
    nearest[i] = values[at] as number;
  }
  return { count: values.length, lowest, highest, nearest, offset: -2 * lowest, codes };
}

/** `-count/2 .. count/2 - 1`. */
export function uniformLevels(count: number): Levels {
  return levelsOf(Int8Array.from({ length: count }, (_, code) => code - count / 2));
}
