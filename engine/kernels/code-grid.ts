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
