import { ROTATABLE_MODELS, readGolden, tinyModelDirectory } from '../../test/tiny-models';
import { openCheckpoint } from '../checkpoints';
import { type DenseReader, perplexity } from '../evaluation';
import { architectureOf } from '../models';
import { encodeFloats } from '../numbers';
import type { FloatTensor, Tensor } from '../spec';
import { rotateTensor } from './rotate-tensor';

/** A dense checkpoint seen in the other basis, in float32. */
async function rotatedReader(directory: string): Promise<DenseReader & { readonly original: DenseReader }> {
  const original = await openCheckpoint(directory);
  const architecture = architectureOf(original.config);
  const shape = architecture.shape(original.config);
  const rotations = architecture.rotations(shape, original.has);
  const read = async (name: string): Promise<Tensor> => {
    const stored = name === architecture.head && shape.tiedHead ? architecture.embedding : name;
    const { data, shape: dimensions } = await original.float(stored);
    return { dtype: 'F32', shape: dimensions, data: encodeFloats(data, 'F32') };
  };
  const float = async (name: string): Promise<FloatTensor> => {
    const rotation = rotations?.get(name);
    if (!rotation) return original.float(name);
    const gain = rotation.gain ? await read(rotation.gain) : null;
    const { data, shape: dimensions } = await rotateTensor({ tensor: await read(name), gain, rotation, dtype: 'F32' });
    return { shape: dimensions, data: new Float32Array(data.buffer, data.byteOffset, data.byteLength / 4) };
  };
  return {
    original,
    config: { ...original.config, tie_word_embeddings: false },
    has: (name) => name === architecture.head || original.has(name),
    float,
    async stored(name) {
      const { shape: dimensions, data } = await float(name);
      return { dtype: 'F32', shape: dimensions, data: encodeFloats(data, 'F32') };
    },
  };
}

describe('a rotated model', () => {
  it.each(ROTATABLE_MODELS)("computes transformers' logits of the original: %s", async (name) => {
    const golden = readGolden(name);
    const tokens = golden.integers('tokens');
    const logits = golden.floats('logits');
    const vocabulary = logits.length / tokens.length;
    const context = 24;
    const losses = [...tokens.keys()].flatMap((i) => {
      if (i % context === context - 1) return [];
      const row = [...logits.subarray(i * vocabulary, (i + 1) * vocabulary)];
      return [Math.log(row.reduce((sum, z) => sum + Math.exp(z), 0)) - (row[tokens[i + 1] as number] as number)];
    });
    const expected = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;

    const checkpoint = await rotatedReader(tinyModelDirectory(name));
    const found = await perplexity({ checkpoint, tokens, context, threads: 2 });
    expect(Math.abs(found.negativeLogLikelihood - expected)).toBeLessThan(1e-5);
  });

  it.each(ROTATABLE_MODELS)('has other weights, spread evenly, and gains of one: %s', async (name) => {
    const checkpoint = await rotatedReader(tinyModelDirectory(name));
    const downs = ['mlp.down_proj', 'mlp.experts.0.down_proj', 'block_sparse_moe.experts.0.w2'];
    const down = downs.map((module) => `model.layers.1.${module}.weight`).find(checkpoint.has) as string;
    const turned = await checkpoint.float(down);
    const original = await checkpoint.original.float(down);
    const energy = (values: Float32Array) => values.reduce((sum, value) => sum + value * value, 0);
    expect(energy(turned.data) / energy(original.data)).toBeCloseTo(1, 5);
    const moved = turned.data.map((value, i) => value - (original.data[i] as number));
    expect(energy(moved) / energy(original.data)).toBeGreaterThan(0.5);
    expect(new Set((await checkpoint.float('model.norm.weight')).data)).toEqual(new Set([1]));
    expect(new Set((await checkpoint.float('model.layers.0.input_layernorm.weight')).data)).toEqual(new Set([1]));
  });
});
