import { readGolden, SPARSE_MODELS, TINY_MODELS, tinyModelDirectory } from '../../test/tiny-models';
import { SeededRandom } from '../calibration/seeded-random';
import { openCheckpoint } from '../checkpoints';
import { type DenseReader, perplexity } from '../evaluation';
import { architectureOf } from '../models';
import { bytesOf, decodeFloats, encodeFloats } from '../numbers';
import type { Tensor } from '../spec';
import { scalesOfGain, scaleTensor } from './scale-tensor';
import { scaledTensors } from './scaled-tensors';
import { perChannel, scalingGroups } from './scaling-groups';

interface ScaledModel {
  readonly reader: DenseReader;
  readonly scaled: ReadonlyMap<string, Tensor>;
}

/** A dense checkpoint with scales between 1/4 and 4 in every group of its linears, in float32. */
async function scaledModel(directory: string): Promise<ScaledModel> {
  const original = await openCheckpoint(directory);
  const architecture = architectureOf(original.config, original.has);
  const shape = architecture.shape(original.config);
  const scaled = new Map<string, Tensor>();
  const read = async (name: string): Promise<Tensor> => {
    const { data, shape: dimensions } = await original.float(name);
    return scaled.get(name) ?? { dtype: 'F32', shape: dimensions, data: encodeFloats(data, 'F32') };
  };
  const tensors = new Proxy({}, { get: () => ({ dtype: 'F32' }) });
  const random = new SeededRandom(3);
  for (const block of architecture.blocks(shape, original.has)) {
    for (const group of scalingGroups(architecture, shape, block)) {
      const count = (group.linears[0]?.columns ?? 0) / group.repeats;
      const scales = Float32Array.from({ length: count }, () => 4 ** (random.below(1000) / 500 - 1));
      for (const { name, columns, firstRow, offset } of scaledTensors({ tensors }, group)) {
        const rows = columns ? null : { first: firstRow, scales };
        const tensor = await read(name);
        scaled.set(
          name,
          scaleTensor({ tensor, columns: columns ? perChannel(scales, group) : null, rows, offset, dtype: 'F32' }),
        );
      }
    }
  }
  const reader: DenseReader = {
    config: original.config,
    has: original.has,
    async float(name) {
      const { shape: dimensions } = await original.float(name);
      return { shape: dimensions, data: decodeFloats(await read(name)) };
    },
    stored: read,
  };
  return { reader, scaled };
}

const SCALABLE = TINY_MODELS.filter((name) => !name.startsWith('gpt2'));

describe('a model with scaled channels', () => {
  it.each(SCALABLE)("computes transformers' logits of the original: %s", async (name) => {
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

    const { reader, scaled } = await scaledModel(tinyModelDirectory(name));
    const inputs = name.startsWith('phi3')
      ? ['qkv_proj', 'gate_up_proj', 'o_proj', 'input_layernorm']
      : name.startsWith('opt')
        ? ['q_proj', 'v_proj', 'out_proj', 'fc1', 'fc2', 'self_attn_layer_norm']
        : // What scales the input of experts would scale the router's.
          [
            ...['q_proj', 'v_proj', 'o_proj', 'input_layernorm'],
            ...(SPARSE_MODELS.includes(name) ? [] : ['up_proj', 'down_proj']),
          ];
    for (const module of inputs) {
      expect([...scaled.keys()].some((key) => key.endsWith(`${module}.weight`))).toBe(true);
    }
    const found = await perplexity({ checkpoint: reader, tokens, context, threads: 2 });
    expect(Math.abs(found.negativeLogLikelihood - expected)).toBeLessThan(1e-5);
  });

  it('leaves weights that are stored transposed as they are', async () => {
    expect((await scaledModel(tinyModelDirectory('gpt2-tied'))).scaled.size).toBe(0);
  });
});

describe('scalesOfGain', () => {
  const gain: Tensor = { dtype: 'BF16', shape: [4], data: encodeFloats(Float32Array.of(1, 0.5, 0, -3), 'BF16') };

  it('is what the rounded gain leaves, so that gain times scale is the gain of the source', () => {
    const scales = scalesOfGain(gain, Float32Array.of(1.3, 0.7, 2, 1.1));
    const divided = scaleTensor({ tensor: gain, columns: null, rows: { first: 0, scales }, dtype: 'BF16' });
    const product = decodeFloats(divided).map((value, at) => Math.fround(value * (scales[at] as number)));
    [1, 0.5, 0, -3].forEach((value, at) => {
      expect(Math.abs((product[at] as number) - value)).toBeLessThanOrEqual(Math.abs(value) * 2 ** -23);
    });
    // 1 / 1.3 and 0.5 / 0.7 to 8 bits of mantissa: 197 / 256 and 183 / 256.
    expect(scales[0]).toBeCloseTo(256 / 197, 6);
    expect(scales[1]).toBeCloseTo(128 / 183, 6);
    expect(bytesOf(decodeFloats(divided))).toEqual(bytesOf(Float32Array.of(197 / 256, 183 / 256, 0, -2.734375)));
  });

  it('is of the gain that is meant, where less is stored', () => {
    const stored: Tensor = { dtype: 'F32', shape: [2], data: encodeFloats(Float32Array.of(0.5, -1), 'F32') };
    const scales = scalesOfGain(stored, Float32Array.of(2, 4), 1);
    expect([...scales]).toEqual([2, 1]);
    const divided = scaleTensor({ tensor: stored, columns: null, rows: { first: 0, scales }, offset: 1, dtype: 'F32' });
    expect([...decodeFloats(divided)]).toEqual([-0.25, -1]);
  });

  it('is 1 where the gain is zero', () => {
    expect(scalesOfGain(gain, Float32Array.of(1, 1, 5, 1))[2]).toBe(1);
  });
});
