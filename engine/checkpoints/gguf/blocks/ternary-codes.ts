import { roundHalfAway } from '../../../numbers';
import { largestSigned } from './ranges';

const float32 = Math.fround;
const SMALLEST_INVERTIBLE = 2 ** -127;

/**
 * Codes 0, 1, 2 for -1, 0, 1 of `codes.length` weights from `first` on, by ggml's rule: the scale is the largest magnitude, halves
 * round away from zero. Returns the scale. Exact for weights that are -s, 0 or s already, as those of models trained ternary.
 */
export function ternaryCodes(values: Float32Array, first: number, codes: Uint8Array): number {
  const d = Math.abs(largestSigned(values, first, codes.length));
  // Subnormal scales have no float32 inverse; as float16 they are 0 anyway.
  const inverse = d < SMALLEST_INVERTIBLE ? 0 : float32(1 / d);
  for (let j = 0; j < codes.length; j++) {
    codes[j] = roundHalfAway(float32((values[first + j] as number) * inverse)) + 1;
  }
  return d;
}
