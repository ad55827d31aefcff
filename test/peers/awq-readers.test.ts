import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseManifest } from '../../engine/checkpoints';
import { bytesOf } from '../../engine/numbers';
import { runCli } from '../support/run-cli';
import { dequantizedCheckpoint } from './dequantized-checkpoint';

// Compiled: its loops run in worker threads then.
const { openCheckpoint, verifyCheckpoint } = require('../../dist/engine') as typeof import('../../engine');

const PYTHON = process.env.QUANTLOOM_PEERS_PYTHON;
if (!PYTHON)
  throw new Error('Name a Python that has torch, transformers, accelerate and gptqmodel in QUANTLOOM_PEERS_PYTHON');
const MODEL = process.env.QUANTLOOM_PEERS_MODEL ?? 'demo';
const SOURCE = MODEL === 'demo' ? join(__dirname, '..', '..', 'assets', 'demo-model') : MODEL;
const TEXT = join(__dirname, '..', '..', 'assets', 'demo-model', 'held-out.txt');
/** Any ids do: all models get the same. */
const IDS = Array.from({ length: 128 }, (_, index) => (index * 37 + 11) % 1000);

interface Found {
  readonly weights: Readonly<Record<string, string>>;
  readonly difference: Readonly<Record<'transformers' | 'gptqmodel', number>>;
  readonly spread: number;
}

describe('AWQ checkpoints, read by GPTQModel and by transformers with it', () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-peers-'));
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  const python = (script: string, words: readonly string[]) =>
    promisify(execFile)(PYTHON as string, [join(__dirname, script), ...words], { maxBuffer: 1 << 26 });

  /** What they make of a checkpoint, beside the same with plain weights. */
  async function theirs(checkpoint: string): Promise<Found> {
    const { stdout } = await python('awq.py', [checkpoint, await dequantizedCheckpoint(checkpoint), IDS.join()]);
    return JSON.parse(stdout.trim().split('\n').at(-1) as string) as Found;
  }

  /** Linears compute in float16. */
  function expectClose({ difference, spread }: Found): void {
    expect(spread).toBeGreaterThan(0.1);
    for (const found of Object.values(difference)) expect(found / spread).toBeLessThan(0.02);
  }

  it.each([
    ['awq', ['--method', 'awq', '--group-size', '64']],
    ['awq, symmetric, whole rows', ['--method', 'awq', '--sym', '--group-size', '-1']],
    ['gptq with zero points', ['--asym', '--group-size', '128', '--format', 'awq']],
    [
      'gptq on scaled channels, a skip',
      ['--scaling', 'awq', '--format', 'awq', '--group-size', '64', '--skip', '*.1.mlp.down_proj'],
    ],
  ])(
    '%s: weights are what the quantizer meant, bit for bit, and logits those of the dequantized model',
    async (name, flags) => {
      const output = join(directory, name.replaceAll(/\W+/g, '-'));
      const calibration = ['--samples', '16', '--sequence-length', '256'];
      const place = { home: join(directory, 'home'), workingDirectory: directory };
      const run = await runCli(['quantize', MODEL, ...flags, ...calibration, '--out', output], place);
      expect([run.code, run.stderr]).toEqual([0, expect.any(String)]);
      const manifest = parseManifest(await readFile(join(output, 'quantloom.json'), 'utf8'));
      const found = await theirs(output);
      const meant = Object.entries(manifest.linears).filter(([, { recipe }]) => recipe !== null);
      expect(found.weights).toEqual(
        Object.fromEntries(meant.map(([module, { weightSha256 }]) => [module, weightSha256])),
      );
      expectClose(found);
    },
    1_800_000,
  );

  it('of GPTQModel: read as it is dequantized, bit for bit, and verified', async () => {
    const output = join(directory, 'gptqmodel');
    await python('gptqmodel-awq.py', [SOURCE, TEXT, output]);
    expect(await verifyCheckpoint(output)).toMatchObject({ kind: 'awq', passed: true });
    const found = await theirs(output);
    const reader = await openCheckpoint(output);
    expect(Object.keys(found.weights).length).toBeGreaterThan(20);
    for (const [module, sha256] of Object.entries(found.weights)) {
      const { data } = await reader.float(`${module}.weight`);
      expect([module, createHash('sha256').update(bytesOf(data)).digest('hex')]).toEqual([module, sha256]);
    }
    expectClose(found);
  }, 1_800_000);
});
