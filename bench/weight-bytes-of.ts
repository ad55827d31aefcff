import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Bytes of a model's weight files. */
export function weightBytesOf(directory: string): number {
  const files = readdirSync(directory).filter((name) => /\.(safetensors|gguf)$/.test(name));
  return files.reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
}
