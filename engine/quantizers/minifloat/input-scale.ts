import { roundToBfloat16 } from '../../numbers';
import { isStatic, QuantloomError, type Recipe } from '../../spec';
import { LARGEST_E4M3, SMALLEST_SCALE } from './minifloat-types';

/**
 * The number that runtimes quantize every input of a linear with, as llm-compressor finds it from the extremes of the calibration set: the largest
 * magnitude over 448, as bfloat16. undefined where there is none.
 *
 * @param magnitude the largest of the input on the calibration set.
 * @throws QuantloomError InvalidCalibration where it is needed and not known.
 */
export function inputScaleOf(
  { activations }: Pick<Recipe, 'activations'>,
  magnitude: number | undefined,
  name: string,
): number | undefined {
  if (!isStatic(activations)) return undefined;
  if (magnitude === undefined) {
    throw new QuantloomError(
      'InvalidCalibration',
      `activations ${activations} need the largest magnitude of the input of ${name}, and there is none. Calibrate, or use activations fp8.`,
    );
  }
  return roundToBfloat16(magnitude / LARGEST_E4M3) || SMALLEST_SCALE;
}
