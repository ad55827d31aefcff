import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { QuantloomError, type SourceTensor } from '../spec';
import { readSafetensorsHeader } from './safetensors';

/** The tensors of a directory of safetensors, and its files. */
export interface WeightFiles {
  /** Every tensor by name, as it lies in the files. */
  readonly tensors: ReadonlyMap<string, SourceTensor>;
  /** Names of the weight files with their sizes in bytes. */
  readonly files: ReadonlyMap<string, number>;
}

const INDEX = 'model.safetensors.index.json';

/**
 * Reads the headers of all weight files: those of the index where there is one, else `model.safetensors`, else every safetensors file.
 *
 * @throws QuantloomError InvalidCheckpoint naming a missing file, a tensor that stands twice, or one that the index misplaces.
 */
export async function readWeightFiles(directory: string): Promise<WeightFiles> {
  const weightMap = await readIndex(directory);
  const names = weightMap ? [...new Set(Object.values(weightMap))].sort() : await findFiles(directory);
  const tensors = new Map<string, SourceTensor>();
  const files = new Map<string, number>();
  for (const file of names) {
    const header = await readSafetensorsHeader(join(directory, file), 'InvalidCheckpoint');
    files.set(file, header.fileBytes);
    for (const [name, location] of header.tensors) {
      const known = tensors.get(name);
      if (known) throw invalid(`${name} stands in ${known.file} and in ${file}.`);
      tensors.set(name, { name, file, ...location });
    }
  }
  for (const [name, file] of Object.entries(weightMap ?? {})) {
    const found = tensors.get(name)?.file;
    if (found !== file)
      throw invalid(`${INDEX} places ${name} in ${file}, but it is ${found ? `in ${found}` : 'in no file'}.`);
  }
  return { tensors, files };

  function invalid(message: string): QuantloomError {
    return new QuantloomError('InvalidCheckpoint', `${directory}: ${message} Download or write the checkpoint again.`);
  }
}

async function readIndex(directory: string): Promise<Record<string, string> | null> {
  let text: string;
  try {
    text = await readFile(join(directory, INDEX), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    const { weight_map: weightMap } = JSON.parse(text) as { weight_map: Record<string, string> };
    if (Object.values(weightMap).every((file) => typeof file === 'string' && !/[\\/]/.test(file))) return weightMap;
  } catch {
    // Said below.
  }
  throw new QuantloomError(
    'InvalidCheckpoint',
    `${join(directory, INDEX)} is not an index: its "weight_map" must map tensor names to files beside it.`,
  );
}

async function findFiles(directory: string): Promise<string[]> {
  let entries: string[];
  try {
    entries = await readdir(directory);
  } catch (cause) {
    throw new QuantloomError(
      'InvalidCheckpoint',
      `${directory} cannot be read as a directory: ${(cause as Error).message}`,
      { cause },
    );
  }
  if (entries.includes('model.safetensors')) return ['model.safetensors'];
  const found = entries.filter((name) => name.endsWith('.safetensors')).sort();
  if (found.length > 0) return found;
  throw new QuantloomError('InvalidCheckpoint', `${directory} holds no .safetensors file.`);
}
