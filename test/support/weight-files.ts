import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { filesOf } from '../../engine/checkpoints/files-of';

/** SHA-256 of every weight file of a checkpoint, by name: what two runs are compared by. */
export async function weightDigests(directory: string): Promise<Record<string, string>> {
  const names = (await filesOf(directory))
    .filter((name) => /\.(safetensors|gguf|onnx|onnx_data(_\d+)?)$/.test(name))
    .sort();
  const digests: Record<string, string> = {};
  for (const name of names) {
    digests[name] = createHash('sha256')
      .update(await readFile(join(directory, name)))
      .digest('hex');
  }
  return digests;
}
