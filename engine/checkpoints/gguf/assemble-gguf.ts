import { basename, join } from 'node:path';
import { bytesOf } from '../../numbers';
import type { Tensor } from '../../spec';
import { writtenModelConfig } from '../model-config';
import { OpenedShard } from '../opened-shard';
import type { OutputFile } from '../output-file';
import type { Assembly } from '../weight-container';
import { isPlain } from './blocks/block-type';
import { text } from './container/gguf-value';
import type { GgufTensor } from './container/layout-gguf';
import { writeGguf } from './container/write-gguf';
import { BLOCKS } from './gguf-storage';
import { importanceMetadata } from './importance-metadata';
import type { GgufMix } from './mixes/gguf-mix';
import { keptInBlocks } from './mixes/plan-mix';
import { fileTypeOf } from './models/file-type-of';
import { generalMetadata } from './models/general-metadata';
import { ggufTensorsOf } from './models/gguf-tensors-of';
import type { GgufTensorPlan } from './models/plan-gguf-tensors';
import { reorderRows } from './models/rotary-row-order';
import { plannedBytes } from './models/tensor-values';
import { readTokenizerSource } from './tokenizer/read-tokenizer-source';
import { tokenizerMetadata } from './tokenizer/tokenizer-metadata';

export const GGUF_FILE = 'model.gguf';

/**
 * Writes the one file of a GGUF checkpoint: what the header says follows from the plan, the tensors are copied from the shards, with the
 * rows of q and k in GGUF's order, and the experts of a layer one after the other. Memory is bounded by two copies of one tensor of the source, the
 * disk beside the file by one shard.
 *
 * @param mix what chose the types; null: they follow from the recipes.
 * @throws QuantloomError UnsupportedInput, UnsupportedArchitecture, InvalidModel, OutputExists, OutputUnwritable; what `exportTo` throws.
 */
export async function assembleGguf(
  { directory, shards, plan, context, signal }: Assembly,
  mix: GgufMix | null,
): Promise<OutputFile[]> {
  const { linears, version } = context;
  const config = writtenModelConfig(context);
  const { architecture, shape, tensors, shardOf } = ggufTensorsOf({
    ...{ plan, linears, config },
    kept: keptInBlocks(mix, plan),
  });
  const { vocabularySize } = shape;
  const tokenizer = await readTokenizerSource({ ...plan, config, vocabularySize });
  const extra = architecture.extraTensors(shape, config);
  const planned = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const opened = new OpenedShard(directory, shards);
  try {
    const file = await writeGguf({
      path: join(directory, GGUF_FILE),
      metadata: new Map([
        ...generalMetadata({
          architecture: architecture.name,
          name: basename(plan.directory),
          fileType: mix?.fileType ?? fileTypeOf(tensors),
          quantizedBy: `Quantloom ${version}`,
        }),
        ['quantloom.version', text(version)],
        ...importanceMetadata(context),
        ...architecture.metadata(shape, config),
        ...tokenizerMetadata(tokenizer),
      ]),
      tensors,
      async *read({ name }: GgufTensor) {
        signal?.throwIfAborted();
        const tensorPlan = planned.get(name) as GgufTensorPlan;
        const { source, experts, rowOrder, type } = tensorPlan;
        if (source === null) {
          yield bytesOf(extra.get(name) as Float32Array);
          return;
        }
        for (const part of experts ?? [source]) {
          signal?.throwIfAborted();
          const stored = isPlain(type) ? part : part.replace(/weight$/, BLOCKS);
          const tensor = (await opened.find(shardOf.get(part) as number, stored)) as Tensor;
          const data = plannedBytes(tensorPlan, tensor);
          yield rowOrder === null ? data : reorderRows(data, rowOrder);
        }
      },
    });
    return [file];
  } finally {
    await opened.close();
  }
}
