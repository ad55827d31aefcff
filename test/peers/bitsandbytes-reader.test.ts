import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { QuantizationSpecInput } from '../../engine/spec';
import { dequantizedCheckpoint } from './dequantized-checkpoint';

// Compiled: its loops run in worker threads then.
const { quantizeDirect, openCheckpoint, verifyCheckpoint } =
  require('../../dist/engine') as typeof import('../../engine');

const PYTHON = process.env.QUANTLOOM_PEERS_PYTHON;
if (!PYTHON) throw new Error('Name a Python that has torch, transformers and bitsandbytes in QUANTLOOM_PEERS_PYTHON');
const MODEL = process.env.QUANTLOOM_PEERS_MODEL ?? 'demo';
const SOURCE = MODEL === 'demo' ? join(__dirname, '..', '..', 'assets', 'demo-model') : MODEL;
const SCRIPT = join(__dirname, 'bitsandbytes.py');
/** Any ids do: both models get the same. */
const IDS = Array.from({ length: 128 }, (_, index) => (index * 37 + 11) % 1000);

/** Of the spread of the logits: what int8 activations cost, whose rounding is not in the weights. */
const INT8_BOUND = 0.2;
/** Of the spread of the logits, with weights that are equal bit for bit: what bitsandbytes' own product costs on a CPU (measured: 0.008). */
const FOUR_BIT_BOUND = 0.02;

describe('bitsandbytes checkpoints and transformers on a CPU', () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-peers-'));
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  /** Expects the weights that bitsandbytes dequantizes to be those that we read, bit for bit, and the logits close. */
  async function expectSame(checkpoint: string, bound: number): Promise<void> {
    const words = [SCRIPT, 'read', checkpoint, await dequantizedCheckpoint(checkpoint), IDS.join()];
    const { stdout } = await promisify(execFile)(PYTHON as string, words, { maxBuffer: 1 << 24 });
    const found = JSON.parse(stdout.trim().split('\n').at(-1) as string) as {
      weights: Record<string, string>;
      difference: number;
      spread: number;
    };
    const reader = await openCheckpoint(checkpoint);
    const own: Record<string, string> = {};
    for (const name of reader.names().filter((tensor) => reader.quantized(tensor))) {
      // Zeros without their sign.
      const data = (await reader.float(name)).data.map((value) => value + 0);
      own[name.replace(/\.weight$/, '')] = createHash('sha256').update(new Uint8Array(data.buffer)).digest('hex');
    }
    expect(Object.keys(own).length).toBeGreaterThan(10);
    expect(found.weights).toEqual(own);
    expect(found.spread).toBeGreaterThan(0.1);
    expect(found.difference).toBeLessThan(bound * found.spread);
  }

  const cases: [string, Partial<QuantizationSpecInput>, number][] = [
    ['nf4', { recipe: { method: 'nf4' } }, FOUR_BIT_BOUND],
    [
      'nf4 of 128, scales in float32',
      { recipe: { method: 'nf4', groupSize: 128, doubleQuant: false } },
      FOUR_BIT_BOUND,
    ],
    ['nf4 with skips', { recipe: { method: 'nf4' }, overrides: [{ match: '*.1.mlp.*', skip: true }] }, FOUR_BIT_BOUND],
    ['nf4 with a head', { recipe: { method: 'nf4' }, keepHead: false }, FOUR_BIT_BOUND],
    ['fp4', { recipe: { method: 'fp4' } }, FOUR_BIT_BOUND],
    ['int8', { recipe: { method: 'llm-int8' } }, INT8_BOUND],
  ];
  it.each(cases)(
    'ours, %s: loaded with the same weights, and the logits of the dequantized model',
    async (name, changes, bound) => {
      const output = join(directory, name.replaceAll(/\W+/g, '-'));
      await quantizeDirect({ model: MODEL, output, ...changes });
      await expectSame(output, bound);
    },
    1_800_000,
  );

  it.each([
    ['nf4', FOUR_BIT_BOUND],
    ['fp4', FOUR_BIT_BOUND],
    ['int8', INT8_BOUND],
  ] as const)(
    'theirs, %s: read and verified',
    async (kind, bound) => {
      const output = join(directory, `theirs-${kind}`);
      await promisify(execFile)(PYTHON as string, [SCRIPT, 'write', SOURCE, output, kind], { maxBuffer: 1 << 24 });
      const { kind: found, checks } = await verifyCheckpoint(output);
      expect(found).toBe('bitsandbytes');
      expect(checks.flatMap(({ findings }) => findings)).toEqual([]);
      await expectSame(output, bound);
    },
    1_800_000,
  );
});
