import { join } from 'node:path';
import { type OutputFile, writeText } from './output-file';
import { readSafetensorsHeader } from './safetensors';

/** Name of a shard as Hugging Face loaders expect it; `position` counts from 0. */
export function shardName(position: number, count: number): string {
  const padded = (value: number) => String(value).padStart(5, '0');
  return `model-${padded(position + 1)}-of-${padded(count)}.safetensors`;
}

/** Writes `model.safetensors.index.json` over the shards of a directory, by their headers. */
export async function writeShardIndex(directory: string, shards: readonly string[]): Promise<OutputFile> {
  const places: [string, string][] = [];
  let totalSize = 0;
  for (const shard of shards) {
    const { tensors } = await readSafetensorsHeader(join(directory, shard), 'InvalidCheckpoint');
    for (const [tensor, { bytes }] of tensors) {
      places.push([tensor, shard]);
      totalSize += bytes;
    }
  }
  places.sort(([a], [b]) => (a < b ? -1 : 1));
  const index = { metadata: { total_size: totalSize }, weight_map: Object.fromEntries(places) };
  return writeText(directory, 'model.safetensors.index.json', `${JSON.stringify(index, null, 2)}\n`);
}
