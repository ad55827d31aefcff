import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCheckpoint, parseSafetensors, serializeSafetensors, verifyCheckpoint } from '../../engine/checkpoints';
import { readGgufHeader, writeGgufModel } from '../../engine/checkpoints/gguf';
import { perplexity } from '../../engine/evaluation';
import { openModelDirectory } from '../../engine/sources';
import type { QuantizationSpecInput } from '../../engine/spec';
import { writeRandomModel } from '../support/random-model';
import { mean, readFileByLlamaCpp } from '../support/read-by-llama-cpp';
import { type TinyModelName, tinyModelDirectory } from '../tiny-models';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

// Both compute in float32; llama.cpp looks GELU up in a table of float16.
const SAME = 5e-5;
const WITH_TABLE = 2e-3;
// llama.cpp rounds activations to 8 bits before it multiplies them with blocks.
const ROUNDED_ACTIVATIONS = 0.02;
/** The smallest of the models has 64 positions. */
const TOKENS = 40;

// What llama.cpp computes in these architectures, whatever config.json says.
const GEMMA2 = { query_pre_attn_scalar: 16 };
const GEMMA3 = {
  query_pre_attn_scalar: 16,
  num_hidden_layers: 7,
  layer_types: Array.from({ length: 7 }, (_, i) => (i === 5 ? 'full_attention' : 'sliding_attention')),
};

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quantloom-gguf-architectures-'));
});
afterAll(() => rm(directory, { recursive: true }));

/** A model under a directory's name that says nothing: llama.cpp takes files whose name has `phi3` in it for ones with Phi-3's tokens. */
async function modelOf(kind: TinyModelName, changes: Readonly<Record<string, unknown>> | null): Promise<string> {
  const model = await mkdtemp(join(directory, 'model-'));
  if (changes) return writeRandomModel(model, kind, changes);
  for (const file of ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']) {
    await copyFile(join(tinyModelDirectory(kind), file), join(model, file));
  }
  return model;
}

/** The names of the first releases of GPT-2. */
async function withoutPrefix(file: string): Promise<void> {
  const { tensors } = parseSafetensors(await readFile(file));
  const named = [...tensors].map(([name, tensor]) => [name.replace(/^transformer\./, ''), tensor] as const);
  await writeFile(file, serializeSafetensors(new Map(named)));
}

/** Nats per token by our own evaluation. */
async function ourLikelihood(path: string, tokens: readonly number[]): Promise<number> {
  const checkpoint = await openCheckpoint(path);
  const options = { tokens: Int32Array.from(tokens), context: tokens.length, threads: 1 };
  return (await perplexity({ checkpoint, ...options })).negativeLogLikelihood;
}

const findingsOf = async (path: string) => (await verifyCheckpoint(path)).checks.flatMap(({ findings }) => findings);

describe('architectures in GGUF, read by llama.cpp', () => {
  test.each<[TinyModelName, Readonly<Record<string, unknown>> | null, number]>([
    ['qwen3-grouped', null, SAME],
    ['qwen3-plain', { attention_bias: false }, SAME],
    ['phi3-grouped', null, SAME],
    ['phi3-partial', { sliding_window: null }, SAME],
    ['gemma2-grouped', GEMMA2, WITH_TABLE],
    ['gemma3-grouped', GEMMA3, WITH_TABLE],
    ['gpt2-tied', null, WITH_TABLE],
    ['gpt2-bare', null, WITH_TABLE],
  ])('%s, not quantized: the likelihoods of the source; and read back, the source', async (kind, changes, bound) => {
    const model = await modelOf(kind, changes);
    const path = join(await mkdtemp(join(directory, 'file-')), 'model.gguf');
    const source = await openModelDirectory(model);
    await writeGgufModel({ source, path, name: 'random', fileType: 'F32', typeOf: () => 'F32' });
    const { tokens, negativeLogLikelihoods } = await readFileByLlamaCpp(path, TOKENS);
    const expected = await ourLikelihood(model, tokens);
    expect(Math.abs(mean(negativeLogLikelihoods) - expected)).toBeLessThan(bound);

    // Factors of LongRoPE stand in the file as tensors, and by which rule they are used it does not say.
    if (kind === 'phi3-grouped') {
      await expect(openCheckpoint(path)).rejects.toThrow('Put the config.json of its source beside it');
      await copyFile(join(model, 'config.json'), join(path, '../config.json'));
    }
    expect(Math.abs((await ourLikelihood(path, tokens)) - expected)).toBeLessThan(SAME);
    expect(await findingsOf(path)).toEqual([]);
  });

  // llama.cpp multiplies rows of one block wrongly.
  const WIDE = { hidden_size: 256, head_dim: 64, intermediate_size: 256 };

  test.each<[TinyModelName, Readonly<Record<string, unknown>>, Partial<QuantizationSpecInput>]>([
    ['qwen3-grouped', WIDE, { recipe: { bits: 4, groupSize: 32 }, embedding: 'Q6_K', formats: ['gguf'] }],
    [
      'phi3-partial',
      { ...WIDE, sliding_window: null },
      { recipe: { method: 'rtn', bits: 4, groupSize: 32, symmetric: false }, formats: ['gguf'] },
    ],
    [
      'gemma2-grouped',
      { ...WIDE, query_pre_attn_scalar: 64 },
      { recipe: { method: 'kquants' }, formats: ['gguf:q4_k_m'] },
    ],
    [
      'gemma3-grouped',
      { ...GEMMA3, ...WIDE, query_pre_attn_scalar: 64 },
      { recipe: { method: 'rtn', bits: 8, groupSize: 32 }, formats: ['gguf'] },
    ],
    ['gpt2-tied', { n_embd: 256 }, { recipe: { method: 'gptq' }, formats: ['gguf:q5_0'] }],
    [
      'gpt2-bare',
      { n_embd: 256 },
      {
        recipe: { bits: 4, groupSize: 32 },
        overrides: [{ match: '*.mlp.c_fc', skip: true }],
        formats: ['gguf'],
      },
    ],
  ])('%s, quantized: the likelihoods of what we read, and verified', async (kind, changes, spec) => {
    const model = await modelOf(kind, changes);
    if (kind === 'gpt2-bare') await withoutPrefix(join(model, 'model.safetensors'));
    const output = join(await mkdtemp(join(directory, 'output-')), 'out');
    const calibration = { source: 'demo', samples: 8, sequenceLength: 32 } as const;
    await quantizeDirect({ model, output, calibration, ...spec });
    const { tensors } = await readGgufHeader(join(output, 'model.gguf'));
    const { embedding = spec.formats?.includes('gguf') ? 'F32' : undefined } = spec;
    if (embedding) expect(tensors.get('token_embd.weight')?.type).toBe(embedding);
    const { tokens, negativeLogLikelihoods } = await readFileByLlamaCpp(join(output, 'model.gguf'), TOKENS);
    const expected = await ourLikelihood(output, tokens);
    expect(Math.abs(mean(negativeLogLikelihoods) - expected)).toBeLessThan(ROUNDED_ACTIVATIONS * expected);
    expect(await findingsOf(output)).toEqual([]);
  });

  test.each<[TinyModelName, Readonly<Record<string, unknown>>, string]>([
    ['qwen3-plain', {}, 'no room for model.layers.0.self_attn.o_proj.bias'],
    ['gemma2-grouped', {}, 'query_pre_attn_scalar'],
    ['gemma2-grouped', { ...GEMMA2, attn_logit_softcapping: null }, 'always caps scores'],
    ['gemma3-grouped', { query_pre_attn_scalar: 16 }, 'five layers of six'],
    ['opt-tied', {}, 'opt has no name in GGUF'],
  ])('%s with what llama.cpp computes otherwise is refused: %j', async (kind, changes, message) => {
    const has = (tensor: string) => tensor.endsWith('.bias');
    const model = join(await mkdtemp(join(directory, 'refused-')), 'model');
    await mkdir(model);
    await writeRandomModel(model, kind, changes, has);
    const source = await openModelDirectory(model);
    const path = join(model, 'model.gguf');
    const writing = writeGgufModel({ source, path, name: 'random', fileType: 'F32', typeOf: () => 'F32' });
    await expect(writing).rejects.toThrow(message);
    await expect(readFile(path)).rejects.toThrow('ENOENT');
  });
});
