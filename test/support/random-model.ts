import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { serializeSafetensors } from '../../engine/checkpoints';
import { architectureOf } from '../../engine/models';
import { encodeFloats } from '../../engine/numbers';
import { elementCount, type Tensor } from '../../engine/spec';
import { type TinyModelName, tinyModelDirectory } from '../tiny-models';

/**
 * Writes a random model of the kind of a tiny one, with its tokenizer, in a shape of its own: weights as large as test/oracles/tiny-models.py makes
 * them, so that attention is peaked and the choice of experts matters.
 *
 * @param changes of config.json.
 * @param hasBias optional tensors that it has. Default: biases of q, k and v where config.json says `qkv_bias`.
 */
export async function writeRandomModel(
  directory: string,
  kind: TinyModelName,
  changes: Readonly<Record<string, unknown>>,
  hasBias?: (tensor: string) => boolean,
): Promise<string> {
  const from = tinyModelDirectory(kind);
  const config = { ...JSON.parse(await readFile(join(from, 'config.json'), 'utf8')), ...changes };
  const architecture = architectureOf(config);
  const shape = architecture.shape(config);
  const has = hasBias ?? ((tensor: string) => config.qkv_bias === true && /[qkv]_proj\.bias$/.test(tensor));
  const sizes = [
    ...architecture.outside(shape),
    ...architecture.blocks(shape, has).flatMap(({ tensors }) => [...tensors]),
  ];
  const next = normal(7);
  const tensors = new Map<string, Tensor>();
  for (const [name, size] of sizes) {
    const isNorm = name.endsWith('norm.weight');
    const spread = isNorm ? 0.2 : name.endsWith('.bias') ? 0.3 : 1.5 / Math.sqrt(size.at(-1) as number);
    const values = Float32Array.from({ length: elementCount(size) }, () => (isNorm ? 1 : 0) + spread * next());
    tensors.set(name, { dtype: 'F32', shape: size, data: encodeFloats(values, 'F32') });
  }
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'model.safetensors'), serializeSafetensors(tensors));
  await writeFile(join(directory, 'config.json'), JSON.stringify(config));
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    await copyFile(join(from, file), join(directory, file));
  return directory;
}

/** Normally distributed numbers (Box and Muller 1958) from a linear congruential generator. */
function normal(seed: number): () => number {
  let state = seed;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}
