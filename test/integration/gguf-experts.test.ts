import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCheckpoint, verifyCheckpoint } from '../../engine/checkpoints';
import { readGgufHeader, writeGgufModel } from '../../engine/checkpoints/gguf';
import { perplexity } from '../../engine/evaluation';
import { openModelDirectory } from '../../engine/sources';
import type { QuantizationSpecInput } from '../../engine/spec';
import { writeRandomModel } from '../support/random-model';
import { mean, readFileByLlamaCpp } from '../support/read-by-llama-cpp';
import { type TinyModelName, tinyModelDirectory } from '../tiny-models';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

// Both compute in float32. Experts that a token only just does not pass make no difference at this size.
const SAME = 1e-5;
// llama.cpp rounds activations to 8 bits before it multiplies them with blocks.
const ROUNDED_ACTIVATIONS = 0.02;

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quantloom-gguf-experts-'));
});
afterAll(() => rm(directory, { recursive: true }));

/** Nats per token of llama.cpp and of our own evaluation of what is at the second path. */
async function likelihoods(file: string, path = file): Promise<readonly [theirs: number, ours: number]> {
  const { tokens, negativeLogLikelihoods } = await readFileByLlamaCpp(file);
  const checkpoint = await openCheckpoint(path);
  const context = tokens.length;
  const own = await perplexity({ checkpoint, tokens: Int32Array.from(tokens), context, threads: 1 });
  return [mean(negativeLogLikelihoods), own.negativeLogLikelihood];
}

const findingsOf = async (path: string) => (await verifyCheckpoint(path)).checks.flatMap(({ findings }) => findings);

describe('mixtures of experts, read by llama.cpp', () => {
  // The fixture's own likelihoods are those of transformers (engine/graphs/stage-runner.test.ts).
  test.each(['mixtral-grouped', 'qwen2moe-shared', 'qwen3moe-grouped'] as const)(
    'not quantized: the likelihoods of the source, and what is read without config.json is the source (%s)',
    async (name) => {
      const path = join(directory, `${name}.gguf`);
      const source = await openModelDirectory(tinyModelDirectory(name));
      await writeGgufModel({ source, path, name, fileType: 'F32', typeOf: () => 'F32' });
      const [theirs, ours] = await likelihoods(path, source.directory);
      expect(Math.abs(theirs - ours)).toBeLessThan(SAME);

      const [original, found] = [await openCheckpoint(source.directory), await openCheckpoint(path)];
      expect(found.names()).toEqual(original.names());
      for (const tensor of original.names()) expect(await found.stored(tensor)).toEqual(await original.stored(tensor));
      expect(await findingsOf(path)).toEqual([]);
    },
  );

  // Rows of 256, so that every type fits, but for those of 96.
  const WIDE = {
    num_hidden_layers: 1,
    hidden_size: 256,
    head_dim: 64,
    intermediate_size: 256,
    moe_intermediate_size: 256,
  };

  test.each<[string, TinyModelName, Readonly<Record<string, unknown>>, Partial<QuantizationSpecInput>, object]>([
    [
      'eight experts, q4_k_m by search without calibration',
      'mixtral-grouped',
      { num_local_experts: 8, num_key_value_heads: 1 },
      { recipe: { method: 'kquants', importance: 'none' }, formats: ['gguf:q4_k_m'] },
      {
        ...{ attn_q: 'Q4_K', attn_k: 'Q8_0', attn_v: 'Q8_0', attn_output: 'Q5_K' },
        ...{ ffn_gate_inp: 'F32', ffn_gate_exps: 'Q4_K', ffn_down_exps: 'Q6_K' },
      },
    ],
    [
      'a shared expert with narrow rows, q2_k with GPTQ',
      'qwen2moe-shared',
      { num_experts: 4, shared_expert_intermediate_size: 96 },
      { recipe: { method: 'gptq', refinements: 1 }, formats: ['gguf:q2_k'] },
      {
        ...{ attn_v: 'Q3_K', ffn_up_exps: 'Q2_K', ffn_down_exps: 'Q3_K' },
        ...{ ffn_up_shexp: 'Q2_K', ffn_down_shexp: 'Q4_0', ffn_gate_inp_shexp: 'F32' },
      },
    ],
    [
      'norms of queries and keys, mxfp4_moe, another type for all experts of a layer',
      'qwen3moe-grouped',
      { num_experts: 4 },
      {
        recipe: { method: 'kquants', importance: 'none' },
        overrides: [{ match: '*.up_proj', blockType: 'IQ4_XS' }],
        formats: ['gguf:MXFP4_MOE'],
      },
      { attn_v: 'Q8_0', attn_q_norm: 'F32', ffn_gate_exps: 'MXFP4', ffn_down_exps: 'MXFP4', ffn_up_exps: 'IQ4_XS' },
    ],
  ])('%s: types of llama.cpp, and its likelihoods', async (id, kind, changes, spec, types) => {
    const model = await writeRandomModel(join(directory, id), kind, { ...WIDE, ...changes });
    const outputs = await quantizeDirect({
      ...{ model, output: join(directory, `${id}-out`), ...spec },
      calibration: { source: 'demo', samples: 8, sequenceLength: 64, sliceTokens: 256 },
    });
    const [output] = Object.values(outputs) as [string];
    const path = join(output, 'model.gguf');
    const { tensors } = await readGgufHeader(path);
    const layer = Object.keys(types).map((part) => [part, tensors.get(`blk.0.${part}.weight`)?.type]);
    expect(Object.fromEntries(layer)).toEqual(types);
    const [theirs, ours] = await likelihoods(path, output);
    expect(Math.abs(theirs - ours)).toBeLessThan(ROUNDED_ACTIVATIONS * ours);
  });
});
