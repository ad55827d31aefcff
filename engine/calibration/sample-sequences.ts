import { QuantloomError } from '../spec';
import { SeededRandom } from './seeded-random';

/**
 * Windows of a tokenized text: `samples` sequences of `sequenceLength` tokens each, row-major `[samples, sequenceLength]`.
 *
 * Sequence i starts at the i-th draw of SplitMix64 seeded with `seed`, scaled to `0 .. tokens - sequenceLength`: uniform, in the
 * order drawn, windows may overlap. A larger `samples` with the same seed begins with the same sequences.
 *
 * @throws QuantloomError InvalidCalibration when the text is shorter than one sequence.
 */
export function sampleSequences(
  tokens: Int32Array,
  { samples, sequenceLength, seed }: { samples: number; sequenceLength: number; seed: number },
): Int32Array {
  const starts = tokens.length - sequenceLength + 1;
  if (starts < 1) {
    throw new QuantloomError(
      'InvalidCalibration',
      `The calibration text has ${tokens.length} tokens, fewer than one sequence of ${sequenceLength}. ` +
        'Take a longer text or a smaller calibration.sequenceLength.',
      { details: { tokens: tokens.length, sequenceLength } },
    );
  }
  const random = new SeededRandom(seed);
  const sequences = new Int32Array(samples * sequenceLength);
  for (let sample = 0; sample < samples; sample++) {
    const start = random.below(starts);
    sequences.set(tokens.subarray(start, start + sequenceLength), sample * sequenceLength);
  }
  return sequences;
}
