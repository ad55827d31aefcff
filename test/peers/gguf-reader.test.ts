import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseManifest } from '../../engine/checkpoints';
import { ggufArchitectureOf, ggufTensorName } from '../../engine/checkpoints/gguf';
import type { QuantizationSpecInput } from '../../engine/spec';
import { type TinyModelName, tinyModelDirectory } from '../tiny-models';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

const PYTHON = process.env.QUANTLOOM_PEERS_PYTHON;
if (!PYTHON) throw new Error('Name a Python that has gguf in QUANTLOOM_PEERS_PYTHON');
const MODEL = process.env.QUANTLOOM_PEERS_MODEL ?? 'demo';

/** Numbers of `general.file_type` in llama.cpp. */
const FILE_TYPES = { Q4_0: 2, Q4_1: 3, Q8_0: 7, Q5_0: 8, Q5_1: 9 } as const;

describe('GGUF files of jobs, read by gguf-py', () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-peers-'));
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  it.each<[keyof typeof FILE_TYPES, 'demo' | TinyModelName, Partial<QuantizationSpecInput>]>([
    ['Q4_0', 'demo', { recipe: { bits: 4, groupSize: 64 } }],
    ['Q4_0', 'demo', { recipe: { method: 'rtn', bits: 3, groupSize: 32 }, rotation: 'hadamard' }],
    ['Q4_1', 'demo', { recipe: { bits: 4, groupSize: 32, symmetric: false } }],
    ['Q5_0', 'demo', { recipe: { method: 'rtn', bits: 5, groupSize: 128 } }],
    ['Q5_1', 'demo', { recipe: { method: 'rtn', bits: 5, groupSize: 64, symmetric: false } }],
    ['Q8_0', 'demo', { recipe: { method: 'rtn', bits: 8, groupSize: -1 }, keepHead: false }],
    ['Q4_0', 'mixtral-grouped', { recipe: { bits: 4, groupSize: 32 } }],
    ['Q4_1', 'qwen2moe-shared', { recipe: { bits: 4, groupSize: 32, symmetric: false } }],
    ['Q8_0', 'qwen3moe-grouped', { recipe: { method: 'rtn', bits: 8, groupSize: 32 } }],
  ])(
    '%s of %s, %j: dequantized to what quantloom.json says, bit for bit',
    async (type, name, changes) => {
      const model = name === 'demo' ? MODEL : tinyModelDirectory(name);
      const output = await mkdtemp(join(directory, 'job-'));
      const calibration = { source: 'demo', samples: 16, sequenceLength: 256 };
      await quantizeDirect({ model, output, overwrite: true, calibration, formats: ['gguf'], ...changes });
      const manifest = parseManifest(await readFile(join(output, 'quantloom.json'), 'utf8'));
      const words = [join(__dirname, 'gguf-reader.py'), join(output, 'model.gguf')];
      const { stdout } = await promisify(execFile)(PYTHON as string, words, { maxBuffer: 1 << 26 });
      const found = JSON.parse(stdout) as {
        fields: Record<string, unknown>;
        weights: Record<string, { type: string; sha256: string[] }>;
      };
      const architecture = ggufArchitectureOf(manifest.source.architecture);
      const meant: typeof found.weights = {};
      // Experts stand in the manifest in their order.
      for (const [module, { recipe, weightSha256 }] of Object.entries(manifest.linears)) {
        const name = ggufTensorName(architecture, `${module}.weight`) as string;
        if (recipe === null) continue;
        meant[name] = { type, sha256: [...(meant[name]?.sha256 ?? []), weightSha256 as string] };
      }
      expect(found.weights).toEqual(meant);
      expect(found.fields).toMatchObject({
        'general.file_type': FILE_TYPES[type],
        'general.quantized_by': `Quantloom ${manifest.quantloom}`,
      });
    },
    600_000,
  );
});
