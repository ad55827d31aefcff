import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { QuantloomError } from '../spec';
import { isCompanion } from './companions';

/** A file that a model is made of. */
export interface ModelFile {
  /** Relative to the model's directory. */
  readonly name: string;
  /** Absolute. */
  readonly path: string;
  readonly bytes: number;
  /** Nanoseconds since 1970. */
  readonly modified: string;
}

const WEIGHTS_OR_CONFIG = /\.safetensors$|\.safetensors\.index\.json$|^config\.json$/;

/**
 * The files that a result of the model at `path` follows from, sorted by name: of a directory of safetensors the weights, config and
 * companions; of another one all files; or the one file. Contents are not read.
 *
 * @throws QuantloomError InvalidModel naming the path.
 */
export async function filesOfModel(path: string): Promise<readonly ModelFile[]> {
  try {
    if ((await stat(path)).isFile()) return [await describe(dirname(path), basename(path))];
    const entries = (await readdir(path, { withFileTypes: true })).filter((entry) => !entry.isDirectory());
    const names = entries.map(({ name }) => name).filter((name) => !name.startsWith('.'));
    const plain = names.some((name) => name.endsWith('.safetensors'));
    const needed = plain ? names.filter((name) => WEIGHTS_OR_CONFIG.test(name) || isCompanion(name)) : names;
    return await Promise.all(needed.sort().map((name) => describe(path, name)));
  } catch (cause) {
    throw new QuantloomError('InvalidModel', `The model ${path} cannot be read: ${(cause as Error).message}.`, {
      cause,
    });
  }
}

async function describe(directory: string, name: string): Promise<ModelFile> {
  const path = join(directory, name);
  const { size, mtimeNs } = await stat(path, { bigint: true });
  return { name, path, bytes: Number(size), modified: String(mtimeNs) };
}
