import { copyFile, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { serializeSafetensors } from '../../engine/checkpoints';
import type { Tensor } from '../../engine/spec';

// Compiled: what it reads with runs in worker threads then.
const { openCheckpoint } = require('../../dist/engine') as typeof import('../../engine');

/** The same model with plain weights, in float32 where they were quantized, in a directory beside it. @returns that directory. */
export async function dequantizedCheckpoint(checkpoint: string): Promise<string> {
  const output = `${checkpoint}-dense`;
  await mkdir(output);
  const reader = await openCheckpoint(checkpoint);
  const tensors = new Map<string, Tensor>();
  for (const name of reader.names()) tensors.set(name, await reader.stored(name));
  await writeFile(join(output, 'model.safetensors'), serializeSafetensors(tensors));
  const { quantization_config: _, ...config } = reader.config;
  await writeFile(join(output, 'config.json'), JSON.stringify(config));
  const others = (await readdir(checkpoint)).filter((name) => /^(tokenizer|generation_config)/.test(name));
  for (const name of others) await copyFile(join(checkpoint, name), join(output, name));
  return output;
}
