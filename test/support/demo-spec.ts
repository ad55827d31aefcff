import type { QuantizationSpecInput } from '../../engine/spec';

/** Small and quick, but all of it is real: 4 slices of the demo model's calibration text. */
export function demoSpec(output: string, changes: Partial<QuantizationSpecInput> = {}): QuantizationSpecInput {
  return {
    model: 'demo',
    output,
    recipe: { bits: 4, groupSize: 64, refinements: 1 },
    calibration: { source: 'demo', samples: 8, sequenceLength: 64, sliceTokens: 128 },
    ...changes,
  };
}
