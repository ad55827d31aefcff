import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelPlan, SourceTensor, Tensor } from '../spec';
import { readSafetensorsHeader, readTensor } from './safetensors';
import type { StoredShard } from './weight-container';

const SHARD_FILE = '.shard.safetensors';

/** Shards that are read while a checkpoint is assembled: one at a time lies beside the output. */
export class OpenedShard {
  #position = -1;
  #tensors: ReadonlyMap<string, SourceTensor> = new Map();

  constructor(
    private readonly directory: string,
    private readonly shards: readonly StoredShard[],
  ) {}

  /** null: the shard has no such tensor. @throws what `exportTo` throws. */
  async find(position: number, name: string): Promise<Tensor | null> {
    if (position !== this.#position) await this.#open(position);
    const place = this.#tensors.get(name);
    return place ? readTensor(this.directory, place) : null;
  }

  async close(): Promise<void> {
    await rm(join(this.directory, SHARD_FILE), { force: true });
  }

  async #open(position: number): Promise<void> {
    await this.close();
    const path = join(this.directory, SHARD_FILE);
    await (this.shards[position] as StoredShard).exportTo(path);
    const { tensors } = await readSafetensorsHeader(path, 'InvalidCheckpoint');
    this.#tensors = new Map([...tensors].map(([name, place]) => [name, { name, file: SHARD_FILE, ...place }]));
    this.#position = position;
  }
}

/** By the names of the source: which shard holds a tensor, or what it became. */
export function shardOfTensors(
  { blocks, remainder }: Pick<ModelPlan, 'blocks' | 'remainder'>,
  isQuantized: (module: string) => boolean,
): Map<string, number> {
  const shardOf = new Map<string, number>();
  for (const [position, { tensors, stages }] of blocks.entries()) {
    for (const { name } of stages.flatMap((stage) => stage.linears)) {
      // A head that was tied has no tensor in the source.
      if (isQuantized(name)) shardOf.set(`${name}.weight`, position);
    }
    for (const name of tensors) shardOf.set(name, position);
  }
  for (const name of remainder) shardOf.set(name, blocks.length);
  return shardOf;
}
