import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { QuantizationSpecInput } from '../../engine/spec';

// Compiled: its loops run in worker threads then.
const { quantizeDirect, openCheckpoint, perplexity, loadTokenizer } =
  require('../../dist/engine') as typeof import('../../engine');

const PYTHON = process.env.QUANTLOOM_PEERS_PYTHON;
if (!PYTHON)
  throw new Error('Name a Python that has torch, transformers, gptqmodel and optimum in QUANTLOOM_PEERS_PYTHON');
/** By default what ships with Quantloom; a larger model takes minutes per case. */
const MODEL = process.env.QUANTLOOM_PEERS_MODEL ?? 'demo';
const TEXT = process.env.QUANTLOOM_PEERS_TEXT ?? join(__dirname, '..', '..', 'assets', 'demo-model', 'held-out.txt');
const CONTEXT = 256;
const MAX_TOKENS = 8192;

type Reader = 'transformers' | 'gptqmodel';

describe('checkpoints, read by those who own the format', () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-peers-'));
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  async function quantize(name: string, changes: Partial<QuantizationSpecInput>): Promise<string> {
    const output = join(directory, name);
    await quantizeDirect({
      model: MODEL,
      output,
      calibration: { source: 'demo', samples: 16, sequenceLength: 256 },
      ...changes,
    });
    return output;
  }

  async function ours(checkpoint: string): Promise<number> {
    const tokens = await (await loadTokenizer(checkpoint)).encode(await readFile(TEXT, 'utf8'));
    const options = { tokens: tokens.slice(0, MAX_TOKENS), context: CONTEXT, threads: 2 };
    return (await perplexity({ checkpoint: await openCheckpoint(checkpoint), ...options })).perplexity;
  }

  async function theirs(checkpoint: string, reader: Reader): Promise<number> {
    const script = join(__dirname, 'perplexity.py');
    const words = [script, checkpoint, TEXT, String(CONTEXT), String(MAX_TOKENS), reader];
    const { stdout } = await promisify(execFile)(PYTHON as string, words, { maxBuffer: 1 << 24 });
    return (JSON.parse(stdout.trim().split('\n').at(-1) as string) as { perplexity: number }).perplexity;
  }

  const cases: [string, Partial<QuantizationSpecInput>, Reader[]][] = [
    ['4 bit', { recipe: { bits: 4, groupSize: 64 } }, ['transformers', 'gptqmodel']],
    ['3 bit', { recipe: { bits: 3, groupSize: 64 } }, ['transformers', 'gptqmodel']],
    ['8 bit, one group a row', { recipe: { bits: 8, groupSize: -1 } }, ['transformers', 'gptqmodel']],
    [
      '2 bit asymmetric, v2',
      { recipe: { bits: 2, groupSize: 32, symmetric: false }, formats: ['gptq_v2'] },
      ['gptqmodel'],
    ],
    ['dynamic act-order', { recipe: { bits: 4, groupSize: 64, actOrder: 'dynamic' } }, ['transformers', 'gptqmodel']],
    ['rotated', { recipe: { bits: 4, groupSize: 64 }, rotation: 'hadamard' }, ['transformers', 'gptqmodel']],
    ['5 bit planar', { recipe: { bits: 5, groupSize: 64 } }, ['gptqmodel']],
    ['6 bit planar', { recipe: { bits: 6, groupSize: 128 } }, ['gptqmodel']],
    [
      'overrides and skips',
      {
        recipe: { bits: 4, groupSize: 64 },
        overrides: [
          { match: '*.down_proj', bits: 8 },
          { match: 'model.layers.0.*', skip: true },
        ],
      },
      ['gptqmodel'],
    ],
  ];

  it.each(cases)(
    '%s: the same perplexity within 0.2%',
    async (name, changes, readers) => {
      const checkpoint = await quantize(name.replaceAll(/\W+/g, '-'), changes);
      const expected = await ours(checkpoint);
      for (const reader of readers) {
        const found = await theirs(checkpoint, reader);
        expect(Math.abs(found / expected - 1)).toBeLessThan(0.002);
      }
    },
    1_800_000,
  );

  it('unquantized: the same perplexity as transformers within 0.1%', async () => {
    const source = MODEL === 'demo' ? join(__dirname, '..', '..', 'assets', 'demo-model') : MODEL;
    expect(Math.abs((await theirs(source, 'transformers')) / (await ours(source)) - 1)).toBeLessThan(0.001);
  }, 600_000);
});
