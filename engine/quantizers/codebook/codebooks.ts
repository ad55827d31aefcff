/**
 * Levels of 4-bit codebooks, by code. Source: bitsandbytes (`get_4bit_type`); NF4 is of Dettmers et al. 2023 (QLoRA), appendix E; FP4 has a
 * sign bit, two bits of exponent and one of mantissa, in which 0001 is a subnormal 1/192.
 */
const LEVELS = {
  nf4: [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
  ],
  fp4: [
    ...[0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4],
    ...[0, -1 / 192, -2 / 3, -1, -1 / 3, -1 / 2, -1 / 6, -1 / 4],
  ],
} as const;

/** A table of levels. */
export type CodebookName = keyof typeof LEVELS;

/** `[16]` each, in float32. */
export const CODEBOOKS: Readonly<Record<CodebookName, Float32Array>> = {
  nf4: Float32Array.from(LEVELS.nf4),
  fp4: Float32Array.from(LEVELS.fp4),
};

/** How numbers are rounded to the levels of a codebook. */
export interface CodebookRounding {
  /** Midpoints between neighbouring levels, rising, in float32. What lies on one goes to the lower level. */
  readonly bounds: Float32Array;
  /** The code of each level, from the lowest level up. */
  readonly codes: Uint8Array;
}

/** As bitsandbytes sorts the levels: of FP4's two zeros, code 0 is below code 8. */
export const ROUNDINGS: Readonly<Record<CodebookName, CodebookRounding>> = {
  nf4: roundingOf('nf4'),
  fp4: roundingOf('fp4'),
};

function roundingOf(name: CodebookName): CodebookRounding {
  const levels = CODEBOOKS[name];
  const order = Array.from(levels.keys()).sort((a, b) => (levels[a] as number) - (levels[b] as number) || a - b);
  const sorted = order.map((code) => levels[code] as number);
  const bounds = Float32Array.from(sorted.slice(1), (level, i) => Math.fround(level + (sorted[i] as number)) / 2);
  return { bounds, codes: Uint8Array.from(order) };
}

/** How many bounds a number is above: the place of its level. */
export function placeOf(value: number, bounds: Float32Array): number {
  let [low, high] = [0, bounds.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((bounds[middle] as number) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
