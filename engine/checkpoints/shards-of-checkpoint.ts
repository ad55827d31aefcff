import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatOf } from './formats';
import { describedModules } from './linear-storage';
import { MANIFEST_FILE, type Manifest, parseManifest } from './manifest';
import type { OutputFile } from './output-file';
import { type RecordedLinear, recordedLinears } from './recorded-linears';
import { readWeightFiles } from './weight-files';

/** A weight file, and what its checkpoint's manifest says of it. */
export interface CheckpointShard {
  readonly file: OutputFile;
  readonly format: string;
  readonly layout: string;
  /** By module: the linears that the file holds quantized. */
  readonly linears: Readonly<Record<string, RecordedLinear>>;
}

/**
 * The weight files of a checkpoint that has a manifest, where these are shards; none where they are not. Reads their headers only.
 *
 * @throws QuantloomError InvalidCheckpoint.
 */
export async function shardsOfCheckpoint(directory: string): Promise<CheckpointShard[]> {
  const { files, format, layout, linears } = parseManifest(await readFile(join(directory, MANIFEST_FILE), 'utf8'));
  const { storage, container } = formatOf(format);
  if (!container.filesAreShards) return [];
  const { tensors, files: weightFiles } = await readWeightFiles(directory);
  return files
    .filter(({ name }) => weightFiles.has(name))
    .map((file) => {
      const names = [...tensors.values()].filter((tensor) => tensor.file === file.name).map(({ name }) => name);
      const held = describedModules(storage, names, (name) => linears[name]?.recipe != null).flatMap((name) => {
        const linear: Manifest['linears'][string] | undefined = linears[name];
        return linear ? [{ name, ...linear }] : [];
      });
      return { file, format, layout, linears: recordedLinears(held) };
    });
}
