import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseManifest } from '../../engine/checkpoints';
import type { QuantizationSpecInput } from '../../engine/spec';
import { dequantizedCheckpoint } from './dequantized-checkpoint';

// Compiled: its loops run in worker threads then.
const { quantizeDirect, openCheckpoint, verifyCheckpoint } =
  require('../../dist/engine') as typeof import('../../engine');

const PYTHON = process.env.QUANTLOOM_PEERS_PYTHON;
if (!PYTHON) throw new Error('Name a Python that has torch, transformers and llmcompressor in QUANTLOOM_PEERS_PYTHON');
const MODEL = process.env.QUANTLOOM_PEERS_MODEL ?? 'demo';
/** Any ids do: both models get the same. */
const IDS = Array.from({ length: 128 }, (_, index) => (index * 37 + 11) % 1000);

describe('compressed-tensors checkpoints, read by transformers', () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-peers-'));
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  /** What transformers makes of a checkpoint, beside the same with plain weights. */
  async function theirs(
    checkpoint: string,
  ): Promise<{ weights: Record<string, string>; difference: number; spread: number }> {
    const words = [
      join(__dirname, 'compressed-tensors.py'),
      checkpoint,
      await dequantizedCheckpoint(checkpoint),
      IDS.join(),
    ];
    const { stdout } = await promisify(execFile)(PYTHON as string, words, { maxBuffer: 1 << 24 });
    return JSON.parse(stdout.trim().split('\n').at(-1) as string);
  }

  const cases: [string, Partial<QuantizationSpecInput>][] = [
    ['4 bit', { recipe: { bits: 4, groupSize: 64 } }],
    ['4 bit asymmetric', { recipe: { bits: 4, groupSize: 32, symmetric: false } }],
    ['2 bit asymmetric, round-to-nearest', { recipe: { method: 'rtn', bits: 2, groupSize: 32, symmetric: false } }],
    ['3 bit', { recipe: { bits: 3, groupSize: 64 } }],
    ['5 bit asymmetric, one group a row', { recipe: { bits: 5, groupSize: -1, symmetric: false } }],
    ['6 bit', { recipe: { bits: 6, groupSize: 128 } }],
    ['8 bit, one group a row', { recipe: { bits: 8, groupSize: -1 } }],
    ['rotated', { recipe: { bits: 4, groupSize: 64 }, rotation: 'hadamard' }],
    ['a quantized head', { recipe: { bits: 8, groupSize: 64 }, keepHead: false }],
    [
      'overrides and skips',
      {
        recipe: { bits: 4, groupSize: 64 },
        overrides: [
          { match: '*.down_proj', bits: 8, symmetric: false },
          { match: 'model.layers.1.self_attn.*', bits: 3, groupSize: 32 },
          { match: 'model.layers.0.*', skip: true },
        ],
      },
    ],
  ];

  it.each(cases)(
    '%s: decompressed to what the quantizer meant, bit for bit, and the logits of the dequantized model',
    async (name, changes) => {
      const output = join(directory, name.replaceAll(/\W+/g, '-'));
      const calibration = { source: 'demo', samples: 16, sequenceLength: 256 };
      await quantizeDirect({ model: MODEL, output, calibration, formats: ['compressed-tensors'], ...changes });
      const manifest = parseManifest(await readFile(join(output, 'quantloom.json'), 'utf8'));
      const found = await theirs(output);
      const meant = Object.entries(manifest.linears).filter(([, { recipe }]) => recipe !== null);
      expect(found.weights).toEqual(
        Object.fromEntries(meant.map(([module, { weightSha256 }]) => [module, weightSha256])),
      );
      expect(found.spread).toBeGreaterThan(0.1);
      expect(found.difference).toBe(0);
    },
    1_800_000,
  );

  it('of llm-compressor: read as it is decompressed, bit for bit, and verified', async () => {
    const output = join(directory, 'llm-compressor');
    const source = MODEL === 'demo' ? join(__dirname, '..', '..', 'assets', 'demo-model') : MODEL;
    await promisify(execFile)(PYTHON as string, [join(__dirname, 'llm-compressor.py'), source, output], {
      maxBuffer: 1 << 24,
    });
    expect(await verifyCheckpoint(output)).toMatchObject({ kind: 'compressed-tensors', passed: true });
    const found = await theirs(output);
    const reader = await openCheckpoint(output);
    for (const [module, sha256] of Object.entries(found.weights)) {
      const { data } = await reader.float(`${module}.weight`);
      const own = createHash('sha256')
        .update(Buffer.from(data.buffer, data.byteOffset, data.byteLength))
        .digest('hex');
      expect([module, own]).toEqual([module, sha256]);
    }
    expect(Object.keys(found.weights).length).toBeGreaterThan(20);
    expect(found.difference).toBe(0);
  }, 1_800_000);
});
