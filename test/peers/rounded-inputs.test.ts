import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type CheckpointReader, parseManifest } from '../../engine/checkpoints';
import { bytesOf, roundToBfloat16 } from '../../engine/numbers';
import type { QuantizationSpecInput } from '../../engine/spec';
import { dequantizedCheckpoint } from './dequantized-checkpoint';

// Compiled: its loops run in worker threads then.
const { quantizeDirect, openCheckpoint, perplexity } = require('../../dist/engine') as typeof import('../../engine');

const PYTHON = process.env.QUANTLOOM_PEERS_PYTHON;
if (!PYTHON)
  throw new Error('Name a Python that has torch, transformers and compressed-tensors in QUANTLOOM_PEERS_PYTHON');
const MODEL = process.env.QUANTLOOM_PEERS_MODEL ?? 'demo';
const CONTEXT = 128;
/** Any ids do: both models get the same. */
const TOKENS = Int32Array.from({ length: 512 }, (_, index) => (index * 37 + 11) % 1000);
/** Inputs that lie at the border of two codes are rounded either way: products are summed in another order. */
const SAME_PERPLEXITY = 2e-3;

interface Found {
  readonly weights: Record<string, string>;
  /** Whether weights are bfloat16. */
  readonly rounded: boolean;
  readonly perplexity: number;
  readonly perplexityOfWeights: number;
}

async function roundedSha256(checkpoint: CheckpointReader, module: string): Promise<string> {
  const { data } = await checkpoint.float(`${module}.weight`);
  const rounded = data.map(roundToBfloat16);
  return createHash('sha256').update(bytesOf(rounded)).digest('hex');
}

describe('checkpoints whose inputs are quantized, read by transformers', () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-peers-'));
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  async function theirs(checkpoint: string): Promise<Found> {
    const text = join(directory, 'tokens.json');
    await writeFile(text, JSON.stringify([...TOKENS]));
    const dense = await dequantizedCheckpoint(checkpoint);
    const words = [join(__dirname, 'rounded-inputs.py'), checkpoint, dense, text, String(CONTEXT)];
    const { stdout } = await promisify(execFile)(PYTHON as string, words, { maxBuffer: 1 << 24 });
    return JSON.parse(stdout.trim().split('\n').at(-1) as string) as Found;
  }

  const cases: [string, Partial<QuantizationSpecInput>][] = [
    ['fp8', { recipe: { method: 'rtn', floatType: 'fp8' } }],
    ['fp8 by gptq, one scale for all', { recipe: { floatType: 'fp8-tensor' } }],
    ['fp8 with static scales', { recipe: { method: 'rtn', floatType: 'fp8-tensor', activations: 'fp8-static' } }],
    ['fp8 by gptq, by row, with static scales', { recipe: { floatType: 'fp8', activations: 'fp8-static' } }],
    ['fp8 in blocks', { recipe: { method: 'rtn', floatType: 'fp8-block' } }],
    ['fp8, weights alone', { recipe: { method: 'rtn', floatType: 'fp8', activations: 'none' } }],
    ['int8 by gptq', { recipe: { activations: 'int8' } }],
    ['int8, one scale for all', { recipe: { activations: 'int8', perTensor: true } }],
    ['mxfp4', { recipe: { method: 'rtn', floatType: 'mxfp4' } }],
    ['nvfp4 by gptq', { recipe: { floatType: 'nvfp4' } }],
    ['mxfp4 with rounded inputs', { recipe: { method: 'rtn', floatType: 'mxfp4', activations: 'mxfp4' } }],
    ['nvfp4 by gptq with rounded inputs', { recipe: { floatType: 'nvfp4', activations: 'nvfp4' } }],
    [
      'int8, fp8 and packed',
      {
        recipe: { method: 'rtn', activations: 'int8' },
        overrides: [
          { match: '*.down_proj', floatType: 'fp8', activations: 'fp8' },
          { match: '*.o_proj', bits: 4, groupSize: 64, activations: 'none' },
        ],
      },
    ],
  ];

  it.each(cases)(
    '%s: decompressed to what the quantizer meant, and our perplexity',
    async (name, changes) => {
      const output = join(directory, name.replaceAll(/\W+/g, '-'));
      const calibration = { source: 'demo', samples: 16, sequenceLength: 256 };
      await quantizeDirect({ model: MODEL, output, calibration, ...changes });
      const manifest = parseManifest(await readFile(join(output, 'quantloom.json'), 'utf8'));
      const found = await theirs(output);
      const checkpoint = await openCheckpoint(output);
      for (const [module, { recipe, weightSha256 }] of Object.entries(manifest.linears)) {
        if (recipe === null) continue;
        const meant = found.rounded ? await roundedSha256(checkpoint, module) : weightSha256;
        expect([module, found.weights[module]]).toEqual([module, meant]);
      }
      const own = await perplexity({ checkpoint, tokens: TOKENS, context: CONTEXT, threads: 2 });
      expect(Math.abs(found.perplexity / own.perplexity - 1)).toBeLessThan(SAME_PERPLEXITY);
      if (!/alone|fp4(?! .*rounded)/.test(name)) expect(found.perplexity).not.toBe(found.perplexityOfWeights);
    },
    1_800_000,
  );
});
