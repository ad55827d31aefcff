import type { RotaryScaling } from '../../../models';

const float32 = Math.fround;

/**
 * `rope_freqs.weight`: what Llama 3's scaling divides each inverse frequency by; float32 steps as in llama.cpp's
 * conversion/llama.py (`generate_extra_tensors`). Null without such scaling.
 *
 * @param headSize rotated features of a head; there are half as many factors.
 */
export function rotaryFactors(rotary: RotaryScaling, headSize: number): Float32Array | null {
  const { theta, llama3 } = rotary;
  if (llama3 === null) return null;
  const longest = llama3.originalMaxPositions / llama3.lowFrequencyFactor;
  const shortest = llama3.originalMaxPositions / llama3.highFrequencyFactor;
  return Float32Array.from({ length: headSize / 2 }, (_, i) => {
    const frequency = float32(1 / float32(theta ** float32((2 * i) / headSize)));
    const wavelength = float32((2 * Math.PI) / frequency);
    if (wavelength < shortest) return 1;
    if (wavelength > longest) return llama3.factor;
    const smooth =
      (llama3.originalMaxPositions / wavelength - llama3.lowFrequencyFactor) /
      (llama3.highFrequencyFactor - llama3.lowFrequencyFactor);
    return 1 / ((1 - smooth) / llama3.factor + smooth);
  });
}
