import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { readGolden, type TinyModelName, tinyModelDirectory } from '../tiny-models';

// Compiled: its loops run in worker threads then.
const { quantizeDirect, openCheckpoint, perplexity } = require('../../dist/engine') as typeof import('../../engine');

const PYTHON = process.env.QUANTLOOM_PEERS_PYTHON;
if (!PYTHON)
  throw new Error('Name a Python that has torch, transformers, gptqmodel and optimum in QUANTLOOM_PEERS_PYTHON');
const CONTEXT = 24;

describe('quantized models of every architecture, read by those who own the format', () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-peers-'));
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  async function theirs(checkpoint: string, tokens: Int32Array, reader: string): Promise<number> {
    const text = join(directory, 'tokens.json');
    await writeFile(text, JSON.stringify([...tokens]));
    const words = [join(__dirname, 'perplexity.py'), checkpoint, text, String(CONTEXT), String(tokens.length), reader];
    const { stdout } = await promisify(execFile)(PYTHON as string, words, { maxBuffer: 1 << 24 });
    return Math.log((JSON.parse(stdout.trim().split('\n').at(-1) as string) as { perplexity: number }).perplexity);
  }

  // The loader of transformers 5.20 initializes the projections of GPT-2 as if they were not quantized, and fails, whoever wrote the file.
  it.each([
    ['mistral-grouped', ['transformers', 'gptqmodel']],
    ['qwen2-grouped', ['transformers', 'gptqmodel']],
    ['qwen3-plain', ['transformers', 'gptqmodel']],
    // transformers keeps the experts of a layer in one tensor, and leaves quantized ones out; GPTQModel has names of its own for Mixtral's.
    ['qwen2moe-shared', ['gptqmodel']],
    ['qwen3moe-grouped', ['gptqmodel']],
    ['gpt2-tied', ['gptqmodel']],
    ['gpt2-bare', ['gptqmodel']],
    ['opt-tied', ['transformers', 'gptqmodel']],
    ['opt-bare', ['transformers', 'gptqmodel']],
  ] as const)(
    '%s: the same loss within 0.5%',
    async (name: TinyModelName, readers) => {
      const output = join(directory, name);
      await quantizeDirect({
        model: tinyModelDirectory(name),
        output,
        recipe: { bits: 4, groupSize: 32 },
        calibration: { source: 'demo', samples: 8, sequenceLength: CONTEXT },
      });
      const tokens = readGolden(name).integers('tokens');
      const checkpoint = await openCheckpoint(output);
      const ours = (await perplexity({ checkpoint, tokens, context: CONTEXT, threads: 2 })).negativeLogLikelihood;
      for (const reader of readers) {
        expect(Math.abs((await theirs(output, tokens, reader)) / ours - 1)).toBeLessThan(0.005);
      }
    },
    600_000,
  );

  it.each([
    ['mixtral-grouped', 'compressed-tensors', 'transformers', { bits: 4, groupSize: 32 }],
    ['qwen2moe-shared', 'compressed-tensors', 'transformers', { bits: 4, groupSize: 32 }],
    // Of Mixtral in GGUF transformers makes a Llama.
    ['qwen2moe-shared', 'gguf', 'transformers', { bits: 4, groupSize: 32 }],
    ['qwen3moe-grouped', 'gguf', 'transformers', { bits: 4, groupSize: 32 }],
    ['opt-tied', 'compressed-tensors', 'transformers', { bits: 4, groupSize: 32 }],
    ['opt-tied', 'awq', 'gptqmodel', { bits: 4, groupSize: 32, symmetric: false }],
    ['opt-bare', 'bitsandbytes', 'transformers', { method: 'nf4' }],
  ] as const)(
    '%s as %s in %s: the same loss within 0.5%',
    async (name: TinyModelName, format, reader, recipe) => {
      const output = join(directory, `${name}-${format}`);
      await quantizeDirect({
        model: tinyModelDirectory(name),
        output,
        recipe,
        formats: [format],
        calibration: { source: 'demo', samples: 8, sequenceLength: CONTEXT },
      });
      const tokens = readGolden(name).integers('tokens');
      const checkpoint = await openCheckpoint(output);
      const ours = (await perplexity({ checkpoint, tokens, context: CONTEXT, threads: 2 })).negativeLogLikelihood;
      expect(Math.abs((await theirs(output, tokens, reader)) / ours - 1)).toBeLessThan(0.005);
    },
    600_000,
  );
});
