import { writtenModelConfig } from '../model-config';
import { OpenedShard, shardOfTensors } from '../opened-shard';
import type { OutputFile } from '../output-file';
import type { Assembly } from '../weight-container';
import { modelFilesOf } from './model-files';
import { readPacked } from './nbits-tensors';
import { modulesInIntegers } from './onnx-embedding';
import type { OnnxSource } from './onnx-source';
import { writeOnnxModel } from './write-onnx-model';

/**
 * Writes the graph of a planned model and copies its weights from the shards, in the order of the forward pass. Memory is bounded by two copies
 * of one weight, the disk beside the files by one shard.
 *
 * @throws QuantloomError UnsupportedArchitecture, UnsupportedInput, InvalidModel; what `exportTo` throws.
 */
export async function assembleOnnx({ directory, shards, plan, context, signal }: Assembly): Promise<OutputFile[]> {
  const linears = context.linears.filter(({ recipe }) => recipe).map(({ name }) => name);
  const quantized = new Set([...linears, ...modulesInIntegers(plan)]);
  const shardOf = shardOfTensors(plan, (module) => quantized.has(module));
  const opened = new OpenedShard(directory, shards);
  const source: OnnxSource = {
    config: writtenModelConfig(context),
    has: (tensor) => shardOf.has(tensor),
    async stored(tensor) {
      const found = shardOf.has(tensor) ? await opened.find(shardOf.get(tensor) as number, tensor) : null;
      if (found) return found;
      throw new Error(`No shard has the tensor ${tensor}.`);
    },
    async linear(module) {
      if (!quantized.has(module)) return null;
      const position = shardOf.get(`${module}.weight`) as number;
      return readPacked(module, `shard ${position}`, (part) => opened.find(position, `${module}.${part}`));
    },
  };
  try {
    return await writeOnnxModel({
      ...{ source, directory, sourceDirectory: plan.directory, files: modelFilesOf(context.layout) },
      ...(signal && { signal }),
    });
  } finally {
    await opened.close();
  }
}
