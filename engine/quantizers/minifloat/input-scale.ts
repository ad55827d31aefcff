import { roundToBfloat16 } from '../../numbers';
import { isStatic, QuantloomError, type Recipe } from '../../spec';
import { globalScaleOf, LARGEST_E4M3, SMALLEST_SCALE } from './minifloat-types';

/**
 * The number that runtimes quantize every input of a linear with, as llm-compressor finds it from the extremes of the calibration set: of FP8 the largest
 * magnitude over 448, as bfloat16; of NVFP4 2688 over it, which the scales of groups are divided by. undefined where there is none.
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
      `activations ${activations} need the largest magnitude of the input of ${name}, and there is none. Calibrate, or use other activations.`,
    );
  }
  if (activations === 'nvfp4') return globalScaleOf(magnitude);
  return roundToBfloat16(magnitude / LARGEST_E4M3) || SMALLEST_SCALE;
}
