/** The grid of codes of one linear. */
export interface CodeGrid {
  /** Largest code, 2^bits - 1. */
  readonly levels: number;
  /** Zero point fixed at 2^(bits-1). */
  readonly symmetric: boolean;
  /** Smallest zero point that the file can hold (asymmetric). */
  readonly minimumZero: number;
}

/** Floor of every scale, 168 · 2⁻²⁴: the float16 next to 1e-5, which AutoAWQ and auto-round use. */
export const SMALLEST_SCALE = 168 / 16777216;

/** 1.5 · 2⁵²: adding it to a float64 leaves no bit for a fraction, and float64 addition rounds halves to even. */
const SHIFT = 6755399441055744;

/** Nearest integer, ties to even, for |x| < 2⁵¹: half the time of the general one in engine/numbers, in the hottest loops. */
export function roundSmall(x: number): number {
  return x + SHIFT - SHIFT;
}

/** `clamp(round(x) + zero, 0, levels)`: the code of a weight that is x scales large. */
export function nearestCode(x: number, zero: number, levels: number): number {
  const code = roundSmall(x) + zero;
  return code < 0 ? 0 : Math.min(code, levels);
}
