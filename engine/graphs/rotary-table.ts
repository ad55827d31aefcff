import type { RotaryScaling } from '../models/architecture';

export interface RotaryTable {
  /** `[positions, pairs]`. */
  readonly cos: Float32Array;
  /** `[positions, pairs]`. */
  readonly sin: Float32Array;
}

/** Pairs of features of a head that are turned: half of its features, where not only a part of them is. */
export function rotaryPairs({ rotated }: RotaryScaling, headSize: number): number {
  return (rotated ?? headSize) / 2;
}

/**
 * Cosines and sines of rotary position embedding (Su et al. 2021, RoFormer, eq. 15): angle of position p and pair i is
 * p · theta^(-2i / headSize).
 *
 * Inverse frequencies and angles are rounded to float32 after every step, as the model's trainers and the usual runtimes do:
 * at position 8000 a float64 angle differs by 5e-4 from theirs.
 */
export function rotaryTable(scaling: RotaryScaling, headSize: number, positions: number): RotaryTable {
  const pairs = rotaryPairs(scaling, headSize);
  const { amplitude = 1 } = scaling;
  const frequencies = inverseFrequencies(scaling, headSize);
  const cos = new Float32Array(positions * pairs);
  const sin = new Float32Array(positions * pairs);
  for (let p = 0; p < positions; p++) {
    for (let i = 0; i < pairs; i++) {
      const angle = Math.fround(p * (frequencies[i] as number));
      cos[p * pairs + i] = amplitude * Math.cos(angle);
      sin[p * pairs + i] = amplitude * Math.sin(angle);
    }
  }
  return { cos, sin };
}

/**
 * Radians per position of each pair. Llama 3.1 divides those of long wavelength by `factor` and interpolates
 * between (`rope_type: llama3`; reference: apply_scaling in Meta's llama-models).
 */
export function inverseFrequencies(scaling: RotaryScaling, headSize: number): Float32Array {
  const pairs = rotaryPairs(scaling, headSize);
  const { linear, factors } = scaling;
  const frequencies = Float32Array.from({ length: pairs }, (_, i) => {
    const period = Math.fround(scaling.theta ** Math.fround(i / pairs));
    return 1 / (factors ? Math.fround(Math.fround(factors[i] as number) * period) : period);
  });
  if (linear !== undefined) return frequencies.map((frequency) => frequency / linear);
  if (scaling.llama3 === null) return frequencies;
  const { factor, lowFrequencyFactor, highFrequencyFactor, originalMaxPositions } = scaling.llama3;
  return frequencies.map((frequency) => {
    const turns = (originalMaxPositions * frequency) / (2 * Math.PI);
    if (turns > highFrequencyFactor) return frequency;
    if (turns < lowFrequencyFactor) return frequency / factor;
    const smooth = (turns - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor);
    return ((1 - smooth) * frequency) / factor + smooth * frequency;
  });
}
