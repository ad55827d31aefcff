import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { QuantloomError } from '../../spec';

/**
 * The GGUF file that a path names, itself or as the only one of a directory, and the directory that it lies in.
 *
 * @throws QuantloomError InvalidCheckpoint for a directory with several.
 */
export async function ggufFileAt(path: string): Promise<{ file: string; directory: string }> {
  const entries = await readdir(path).catch(() => null);
  if (entries === null) return { file: path, directory: dirname(path) };
  const [name, ...others] = entries.filter((entry) => /\.gguf$/i.test(entry)).sort();
  if (name !== undefined && others.length === 0) return { file: join(path, name), directory: path };
  throw new QuantloomError(
    'InvalidCheckpoint',
    `${path} holds ${name === undefined ? 'no' : `${others.length + 1}`} GGUF files; give the path of one.`,
  );
}
