import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readTensor, serializeSafetensors } from '../engine/checkpoints';
import { openModelDirectory, resolveModelDirectory } from '../engine/sources';
import type { Tensor } from '../engine/spec';

/** Writes a model's first `layers` layers, with embeddings, final norm and head, to a new directory: the same model, but shorter. */
export async function writeCutModel(model: string, layers: number, directory: string): Promise<void> {
  const source = await openModelDirectory(resolveModelDirectory(model));
  mkdirSync(directory, { recursive: true });
  const tensors = new Map<string, Tensor>();
  for (const [name, tensor] of Object.entries(source.tensors)) {
    const layer = /^model\.layers\.(\d+)\./.exec(name)?.[1];
    if (layer === undefined || Number(layer) < layers) tensors.set(name, await readTensor(source.directory, tensor));
  }
  writeFileSync(join(directory, 'model.safetensors'), serializeSafetensors(tensors));
  writeFileSync(join(directory, 'config.json'), JSON.stringify({ ...source.config, num_hidden_layers: layers }));
  for (const file of source.companions) copyFileSync(join(source.directory, file), join(directory, file));
}
