import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** SHA-256 of every weight file of a checkpoint, by name: what two runs are compared by. */
export async function weightDigests(directory: string): Promise<Record<string, string>> {
  const names = (await readdir(directory)).filter((name) => /\.(safetensors|gguf)$/.test(name)).sort();
  const digests: Record<string, string> = {};
  for (const name of names) {
    digests[name] = createHash('sha256')
      .update(await readFile(join(directory, name)))
      .digest('hex');
  }
  return digests;
}
