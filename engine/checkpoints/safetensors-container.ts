import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { QuantloomError, type SourceTensor } from '../spec';
import type { OutputFile } from './output-file';
import { readTensor } from './safetensors';
import { checkHeaders } from './verification/check-files';
import { TensorsOfDirectory } from './verification/tensors-of-directory';
import type { WeightContainer } from './weight-container';
import { readWeightFiles } from './weight-files';
import { shardName, writeShardIndex } from './write-shard-index';

/** A directory of safetensors: every shard as it is, and an index over them. */
export const safetensorsContainer: WeightContainer = {
  holdsWeights: (file) => file.endsWith('.safetensors'),
  filesAreShards: true,

  async assemble({ directory, shards, signal }) {
    const files: OutputFile[] = [];
    for (const [position, shard] of shards.entries()) {
      signal?.throwIfAborted();
      const name = shardName(position, shards.length);
      const { bytes, sha256 } = await shard.exportTo(join(directory, name));
      files.push({ name, bytes, sha256 });
    }
    const index = await writeShardIndex(
      directory,
      files.map(({ name }) => name),
    );
    return [...files, index];
  },

  async open(directory) {
    const config = await readConfig(directory);
    const { tensors, files } = await readWeightFiles(directory);
    return {
      config,
      tensors,
      weightBytes: [...files.values()].reduce((sum, bytes) => sum + bytes, 0),
      read: (name) => readTensor(directory, tensors.get(name) as SourceTensor),
    };
  },

  async inspect(directory) {
    const { check, places } = await checkHeaders(directory);
    return { check, stored: new TensorsOfDirectory(directory, places) };
  },
};

/** config.json; AutoGPTQ's first versions put the quantization_config into a file of its own. */
async function readConfig(directory: string): Promise<Readonly<Record<string, unknown>>> {
  const config = await readObject(join(directory, 'config.json'));
  if (config.quantization_config) return config;
  const own = join(directory, 'quantize_config.json');
  const exists = await access(own).then(
    () => true,
    () => false,
  );
  return exists ? { ...config, quantization_config: { quant_method: 'gptq', ...(await readObject(own)) } } : config;
}

async function readObject(path: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    const config: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (typeof config === 'object' && config !== null && !Array.isArray(config))
      return config as Record<string, unknown>;
  } catch (cause) {
    throw new QuantloomError('InvalidCheckpoint', `${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
  throw new QuantloomError('InvalidCheckpoint', `${path} is not a JSON object.`);
}
