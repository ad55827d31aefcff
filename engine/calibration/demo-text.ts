import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';

/** The text that ships with the demo model and that it was not trained on. */
export async function demoHeldOutText(): Promise<string> {
  return readFile(assetFile('assets/demo-model/held-out.txt'), 'utf8');
}

/**
 * The part of the held-out text to calibrate on: what follows the first line break after its first quarter. Perplexity is measured on
 * its first 16384 tokens, well inside that quarter, so no text is used for both.
 */
export async function demoCalibrationText(): Promise<string> {
  const text = await demoHeldOutText();
  return text.slice(text.indexOf('\n', text.length / 4) + 1);
}

/** The package's assets lie at its root; this file one level deeper when it has been compiled. */
function assetFile(name: string): string {
  for (let directory = __dirname; ; directory = path.dirname(directory)) {
    const file = path.join(directory, name);
    if (existsSync(file) || directory === path.dirname(directory)) return file;
  }
}
