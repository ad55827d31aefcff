import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { packageRoot } from '../sources';

/** The text that ships with the demo model and that it was not trained on. */
export async function demoHeldOutText(): Promise<string> {
  return readFile(path.join(packageRoot(), 'assets/demo-model/held-out.txt'), 'utf8');
}

/**
 * The part of the held-out text to calibrate on: what follows the first line break after its first quarter. Perplexity is measured on
 * its first 16384 tokens, well inside that quarter, so no text is used for both.
 */
export async function demoCalibrationText(): Promise<string> {
  const text = await demoHeldOutText();
  return text.slice(text.indexOf('\n', text.length / 4) + 1);
}
