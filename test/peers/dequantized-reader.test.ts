import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { QuantizationSpecInput } from '../../engine/spec';
import { readGolden, type TinyModelName, tinyModelDirectory } from '../tiny-models';

// Compiled: its loops run in worker threads then.
const { quantizeDirect, openCheckpoint, perplexity } = require('../../dist/engine') as typeof import('../../engine');

const PYTHON = process.env.QUANTLOOM_PEERS_PYTHON;
if (!PYTHON) throw new Error('Name a Python that has torch and transformers in QUANTLOOM_PEERS_PYTHON');
const CONTEXT = 24;
/** Both compute in float32 with the same weights. */
const SAME_PERPLEXITY = 1e-5;

describe('dequantized checkpoints, read by transformers without a word about quantization', () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-peers-'));
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  async function theirs(checkpoint: string, tokens: Int32Array): Promise<number> {
    const text = join(directory, 'tokens.json');
    await writeFile(text, JSON.stringify([...tokens]));
    const words = [join(__dirname, 'perplexity.py'), checkpoint, text, String(CONTEXT), String(tokens.length)];
    const { stdout } = await promisify(execFile)(PYTHON as string, words, { maxBuffer: 1 << 24 });
    return (JSON.parse(stdout.trim().split('\n').at(-1) as string) as { perplexity: number }).perplexity;
  }

  const cases: [TinyModelName, Partial<QuantizationSpecInput>][] = [
    ['mistral-grouped', { recipe: { bits: 3, groupSize: 32, symmetric: false, actOrder: 'dynamic' } }],
    ['qwen3-plain', { recipe: { method: 'nf4', groupSize: 64 } }],
    ['gpt2-tied', { recipe: { bits: 4, groupSize: 32 } }],
    ['gpt2-tied', { recipe: { method: 'llm-int8' }, keepHead: false }],
    ['opt-bare', { recipe: { bits: 4, groupSize: 32 } }],
  ];

  it.each(cases)(
    '%s: the perplexity that we have (%j)',
    async (name, changes) => {
      const output = join(directory, `${name}-${cases.findIndex(([, other]) => other === changes)}`);
      const formats = ['dequantized', 'dequantized-float32'] as const;
      const calibration = { source: 'demo', samples: 8, sequenceLength: CONTEXT };
      await quantizeDirect({ model: tinyModelDirectory(name), output, calibration, formats: [...formats], ...changes });
      const tokens = readGolden(name).integers('tokens');
      for (const format of formats) {
        const checkpoint = await openCheckpoint(join(output, format));
        const own = await perplexity({ checkpoint, tokens, context: CONTEXT, threads: 2 });
        const found = await theirs(join(output, format), tokens);
        expect(Math.abs(found / own.perplexity - 1)).toBeLessThan(SAME_PERPLEXITY);
      }
    },
    600_000,
  );
});
