import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { readSafetensorsHeader } from '../checkpoints/safetensors';
import { QuantloomError, type SourceTensor } from '../spec';
import { isCompanion } from './companions';
import { readJsonObject } from './read-json-object';
import { findWeightFiles } from './weight-files';

const MAX_CONFIG_BYTES = 16_000_000;
const TEMPLATES = 'additional_chat_templates';

/** A model on disk, known by its headers only. */
export interface SourceDirectory {
  /** Absolute. */
  readonly directory: string;
  /** config.json, parsed and not judged. */
  readonly config: Readonly<Record<string, unknown>>;
  /** By name, sorted by name. Without a prototype. */
  readonly tensors: Readonly<Record<string, SourceTensor>>;
  /** Relative to the directory, sorted. */
  readonly weightFiles: readonly string[];
  /** Files that are copied next to quantized weights, relative to the directory, sorted. */
  readonly companions: readonly string[];
}

/**
 * Reads what a directory of safetensors holds: config, and the header of every weight file, but no weights.
 *
 * @throws QuantloomError InvalidModel for a missing or broken part, UnsupportedInput for weights in another format.
 */
export async function openModelDirectory(directory: string): Promise<SourceDirectory> {
  const absolute = resolve(directory);
  const entries = await listDirectory(absolute);
  const config = await readJsonObject(join(absolute, 'config.json'), MAX_CONFIG_BYTES);
  const { files, claims } = await findWeightFiles(absolute, entries);
  const tensors = await readHeaders(absolute, files);
  for (const [name, file] of claims ?? []) {
    if (tensors.get(name)?.file === file) continue;
    throw new QuantloomError(
      'InvalidModel',
      `${join(absolute, 'model.safetensors.index.json')} says that tensor ${JSON.stringify(name)} is in ${file}, but it is not.`,
    );
  }
  if (tensors.size === 0) {
    throw new QuantloomError('InvalidModel', `${absolute} has no weights: ${files.join(', ')} holds no tensor.`);
  }
  const sorted = [...tensors.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  return {
    directory: absolute,
    config,
    tensors: Object.assign(Object.create(null), Object.fromEntries(sorted.map((tensor) => [tensor.name, tensor]))),
    weightFiles: files,
    companions: await findCompanions(absolute, entries),
  };
}

async function listDirectory(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const faults: Record<string, string> = {
      // A path that is wrong is never guessed to be a model of the hub.
      ENOENT: 'does not exist. A model of the hub is written hf:OWNER/NAME',
      ENOTDIR: 'is not a directory. Give the directory that holds config.json and the safetensors',
    };
    const fault = faults[code ?? ''] ?? `cannot be read (${message})`;
    throw new QuantloomError('InvalidModel', `The model's directory ${directory} ${fault}.`, { cause });
  }
}

async function readHeaders(directory: string, files: readonly string[]): Promise<Map<string, SourceTensor>> {
  const tensors = new Map<string, SourceTensor>();
  for (const file of files) {
    const header = await readSafetensorsHeader(join(directory, file));
    for (const [name, { dtype, shape, offset, bytes }] of header.tensors) {
      const other = tensors.get(name);
      if (other !== undefined) {
        throw new QuantloomError(
          'InvalidModel',
          `Tensor ${JSON.stringify(name)} is both in ${other.file} and in ${file} of ${directory}.`,
        );
      }
      tensors.set(name, { name, dtype, shape, file, offset, bytes });
    }
  }
  return tensors;
}

async function findCompanions(directory: string, entries: readonly string[]): Promise<string[]> {
  const templates = entries.includes(TEMPLATES) ? await readdir(join(directory, TEMPLATES)).catch(() => []) : [];
  const candidates = [...entries, ...templates.map((name) => `${TEMPLATES}/${name}`)].filter(isCompanion);
  const found: string[] = [];
  for (const file of candidates.sort()) {
    if ((await stat(join(directory, file)).catch(() => null))?.isFile()) found.push(file);
  }
  return found;
}
