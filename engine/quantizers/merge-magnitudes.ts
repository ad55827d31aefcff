import { QuantloomError } from '../spec';

/**
 * The largest magnitude of each input that a stage captures, over all slices. An input that no token of the calibration set came to, as may be of an
 * expert, gets that of the others.
 *
 * @param slices by slice, then by input.
 * @throws QuantloomError InvalidCalibration where no input has anything but zeros.
 */
export function mergeMagnitudes(slices: readonly (readonly number[])[]): readonly number[] {
  const inputs = slices[0]?.length ?? 0;
  const merged = Array.from({ length: inputs }, (_, input) =>
    slices.reduce((most, magnitudes) => Math.max(most, magnitudes[input] as number), 0),
  );
  const largest = Math.max(0, ...merged);
  if (largest > 0) return merged.map((magnitude) => magnitude || largest);
  throw new QuantloomError(
    'InvalidCalibration',
    'An input is zero, or not finite, on all of the calibration set, so it has no scale. Set activations to fp8, or calibrate on another text.',
  );
}
