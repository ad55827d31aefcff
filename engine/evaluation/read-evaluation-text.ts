import { createHash } from 'node:crypto';
import { demoHeldOutText, readCalibrationText } from '../calibration';

/**
 * The text that perplexity is measured on: `demo` (the held-out text of the demo model, from its start), a text file, or a JSONL file.
 *
 * @throws QuantloomError InvalidCalibration naming the file.
 */
export async function readEvaluationText(source: string): Promise<{ documents: readonly string[]; sha256: string }> {
  if (source !== 'demo') return readCalibrationText(source);
  const text = await demoHeldOutText();
  return { documents: [text], sha256: createHash('sha256').update(text).digest('hex') };
}
