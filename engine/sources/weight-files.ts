import { existsSync } from 'node:fs';
import { join, posix, win32 } from 'node:path';
import { QuantloomError } from '../spec';
import { readJsonObject } from './read-json-object';

export const SINGLE = 'model.safetensors';
export const INDEX = 'model.safetensors.index.json';
const MAX_INDEX_BYTES = 100_000_000;
/** Formats that run code when they are loaded. */
const PICKLE = /\.(bin|pt|pth|ckpt|pkl|pickle)$/i;

export interface WeightFiles {
  /** Relative to the directory, sorted. */
  readonly files: readonly string[];
  /** The file that the index claims for each tensor; null without an index. */
  readonly claims: ReadonlyMap<string, string> | null;
}

/**
 * Finds the weights of a model: `model.safetensors`, else the shards of `model.safetensors.index.json`.
 *
 * @param entries names of the directory's entries.
 * @throws QuantloomError InvalidModel for no weights or a bad index, UnsupportedInput for pickle or GGUF files only (never opened).
 */
export async function findWeightFiles(directory: string, entries: readonly string[]): Promise<WeightFiles> {
  if (entries.includes(SINGLE)) return { files: [SINGLE], claims: null };
  if (entries.includes(INDEX)) {
    const claims = await readIndex(directory);
    return { files: [...new Set(claims.values())].sort(), claims };
  }

  const safetensors = entries.filter((name) => name.endsWith('.safetensors'));
  if (safetensors.length > 0) {
    throw new QuantloomError(
      'InvalidModel',
      `${directory} has neither ${SINGLE} nor ${INDEX}, only ${listed(safetensors)}. Shards need their index: download the model again.`,
    );
  }
  const pickles = entries.filter((name) => PICKLE.test(name));
  if (pickles.length > 0) {
    throw new QuantloomError(
      'UnsupportedInput',
      `${directory} has its weights only as ${listed(pickles)}. Pickle files can run any code when loaded and are not opened. ` +
        'Convert them with the safetensors library (model.save_pretrained(..., safe_serialization=True)).',
    );
  }
  const ggufs = entries.filter((name) => /\.gguf$/i.test(name));
  if (ggufs.length > 0) {
    throw new QuantloomError(
      'UnsupportedInput',
      `${directory} has its weights only as ${listed(ggufs)}. Give the path of one of them, or a directory with safetensors.`,
    );
  }
  throw new QuantloomError('InvalidModel', `${directory} has no weights: neither ${SINGLE} nor ${INDEX}.`);
}

async function readIndex(directory: string): Promise<Map<string, string>> {
  const path = join(directory, INDEX);
  const invalid = (fault: string) => new QuantloomError('InvalidModel', `${path} ${fault}.`);

  const map = (await readJsonObject(path, MAX_INDEX_BYTES)).weight_map;
  if (typeof map !== 'object' || map === null || Array.isArray(map)) throw invalid('has no object "weight_map"');
  const claims = new Map<string, string>();
  const seen = new Set<string>();
  for (const [tensor, file] of Object.entries(map)) {
    const where = `names ${JSON.stringify(file)} for tensor ${JSON.stringify(tensor)}`;
    if (typeof file !== 'string') throw invalid(`${where}, which is not a file name`);
    if (!staysInside(file)) throw invalid(`${where}, which does not lie inside the model's directory`);
    if (!file.endsWith('.safetensors')) throw invalid(`${where}, which is not a safetensors file`);
    if (!seen.has(file) && !existsSync(join(directory, file))) {
      throw invalid(`${where}, which is missing: the download is incomplete`);
    }
    seen.add(file);
    claims.set(tensor, file);
  }
  if (claims.size === 0) throw invalid('names no tensor');
  return claims;
}

/** Links may lead out of the directory (the hub's cache is made of them), names may not. */
function staysInside(file: string): boolean {
  return (
    !posix.isAbsolute(file) &&
    !win32.isAbsolute(file) &&
    !/^[a-z]:/i.test(file) &&
    !file.includes('\0') &&
    file.split(/[\\/]/).every((part) => part !== '..' && part !== '.' && part !== '')
  );
}

function listed(names: readonly string[]): string {
  return names.length <= 3 ? names.join(', ') : `${names.slice(0, 3).join(', ')} and ${names.length - 3} more files`;
}
