import type { Stretch } from './fit-scale';

/** How much further than to the highest code the range of a stretch is spread, in codes, before least squares take over. */
const OFFSETS = [-0.9, -0.6, -0.3, 0, 0.3, 0.6, 0.9] as const;
const MOST_ROUNDS = 6;

/** `Σ w q`, `Σ w q²`, `Σ w x q` of the codes looked at last. */
let sumCode = 0;
let sumSquare = 0;
let sumProduct = 0;

/** `x ≈ scale q + shift`. */
export interface ShiftedScale {
  scale: number;
  shift: number;
}

/**
 * Scale (not negative) and shift that make `Σ w (x - scale q - shift)²` small, q = 0 .. highest next to (x - shift) / scale. As
 * `fitScale`: a few starts, then codes and the least-squares line in turn.
 *
 * @param shiftBelowZero whether the shift may not be positive, as in the K types.
 */
export function fitShiftedScale(stretch: Stretch, highest: number, shiftBelowZero: boolean, found: ShiftedScale): void {
  const { x, weighting, start, count } = stretch;
  let least = x[start] as number;
  let most = least;
  let total = 0;
  let sum = 0;
  for (let i = start; i < start + count; i++) {
    const value = x[i] as number;
    const weight = weighting[i] as number;
    if (value < least) least = value;
    if (value > most) most = value;
    total += weight;
    sum += weight * value;
  }
  if (shiftBelowZero && least > 0) least = 0;
  found.scale = 0;
  found.shift = least;
  if (most <= least) return;
  let gain = -Infinity;
  for (const offset of OFFSETS) {
    let scale = (most - least) / (highest + offset);
    let shift = least;
    let reached = -Infinity;
    for (let round = 0; round < MOST_ROUNDS; round++) {
      sumsAt(stretch, 1 / scale, shift, highest);
      // Minimum of Σ w (x - s q - b)² in s and b; the gain is Σ w x² minus it.
      const determinant = total * sumSquare - sumCode * sumCode;
      if (sumSquare <= 0) break;
      if (determinant > 0) {
        scale = (total * sumProduct - sum * sumCode) / determinant;
        shift = (sum * sumSquare - sumProduct * sumCode) / determinant;
      }
      if (determinant <= 0 || (shiftBelowZero && shift > 0)) {
        shift = determinant <= 0 ? Math.min(shift, shiftBelowZero ? 0 : shift) : 0;
        scale = (sumProduct - shift * sumCode) / sumSquare;
      }
      if (!(scale > 0)) break;
      const now = lineGain(scale, shift, total, sum);
      if (now <= reached) break;
      reached = now;
      if (now > gain) {
        gain = now;
        found.scale = scale;
        found.shift = shift;
      }
    }
  }
}

/** `Σ w x² - Σ w (x - s q - b)²` for the codes looked at last. */
function lineGain(scale: number, shift: number, total: number, sum: number): number {
  return (
    2 * (scale * sumProduct + shift * sum) -
    (scale * scale * sumSquare + 2 * scale * shift * sumCode + shift * shift * total)
  );
}

/** Writes the codes next to (x - shift) / scale and returns `Σ w (x - scale q - shift)²`. A scale of 0 leaves code 0. */
export function assignCodes(
  stretch: Stretch,
  scale: number,
  shift: number,
  highest: number,
  codes: Uint8Array,
): number {
  const { x, weighting, start, count } = stretch;
  const inverse = scale === 0 ? 0 : 1 / scale;
  let error = 0;
  for (let i = start; i < start + count; i++) {
    const value = x[i] as number;
    const place = (value - shift) * inverse + 0.5;
    const code = place <= 0 ? 0 : place >= highest ? highest : place | 0;
    codes[i] = code;
    const difference = value - scale * code - shift;
    error += (weighting[i] as number) * difference * difference;
  }
  return error;
}

function sumsAt(stretch: Stretch, inverse: number, shift: number, highest: number): void {
  const { x, weighting, start, count } = stretch;
  let code1 = 0;
  let code2 = 0;
  let product = 0;
  for (let i = start; i < start + count; i++) {
    const value = x[i] as number;
    const place = (value - shift) * inverse + 0.5;
    const code = place <= 0 ? 0 : place >= highest ? highest : place | 0;
    const weighted = (weighting[i] as number) * code;
    code1 += weighted;
    code2 += weighted * code;
    product += weighted * value;
  }
  sumCode = code1;
  sumSquare = code2;
  sumProduct = product;
}
