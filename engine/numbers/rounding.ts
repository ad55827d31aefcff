/** Nearest integer, ties to even: torch.round, numpy.rint. */
export function roundHalfEven(x: number): number {
  return Math.abs(x - Math.trunc(x)) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x);
}

/** Nearest integer, ties away from zero: C's roundf. */
export function roundHalfAway(x: number): number {
  return x < 0 ? -Math.round(-x) : Math.round(x);
}

/** `trunc(x + 0.5)`, as C casts `(int)(x + 0.5f)`: ties up, and for negative x towards zero by up to one. */
export function truncateAfterHalf(x: number): number {
  return Math.trunc(x + 0.5);
}
