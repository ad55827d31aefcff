import { join } from 'node:path';
import { writeCutModel } from '../../bench/cut-model';

/** Layers of `shortDemo`. */
export const SHORT_LAYERS = 2;

/** The demo model's first two layers with its embedding, head and tokenizer, in a new directory: where more layers would show nothing more. */
export async function shortDemo(directory: string): Promise<string> {
  const model = join(directory, 'short-demo');
  await writeCutModel('demo', SHORT_LAYERS, model);
  return model;
}
