import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { exportOnnx } from '../../engine/checkpoints/onnx';
import type { QuantizationSpecInput } from '../../engine/spec';

// Compiled: its loops run in worker threads then.
const { quantizeDirect, openCheckpoint, generate, loadTokenizer } =
  require('../../dist/engine') as typeof import('../../engine');

const PYTHON = process.env.QUANTLOOM_PEERS_PYTHON;
if (!PYTHON) throw new Error('Name a Python that has onnx and onnxruntime-genai in QUANTLOOM_PEERS_PYTHON');
const MODEL = process.env.QUANTLOOM_PEERS_MODEL ?? 'demo';
const PROMPT = 'The old man went to the sea and';
const NEW_TOKENS = 48;

describe('ONNX directories, read by ONNX and onnxruntime-genai', () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-peers-'));
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  const cases: [string, Partial<QuantizationSpecInput>][] = [
    ['4 bit', { recipe: { bits: 4, groupSize: 64 } }],
    ['8 bit asymmetric', { recipe: { bits: 8, groupSize: 32, symmetric: false } }],
    ['4 bit in dynamic act-order', { recipe: { bits: 4, groupSize: 32, actOrder: 'dynamic' } }],
    [
      '2 bit, 4 bit and 16 bit',
      {
        recipe: { bits: 4, groupSize: 32 },
        overrides: [
          { match: '*.up_proj', bits: 2, symmetric: false },
          { match: 'model.layers.0.*', skip: true },
        ],
      },
    ],
  ];

  it.each(cases)(
    '%s: a valid model, continued as by generate',
    async (name, changes) => {
      const quantized = join(directory, name.replaceAll(/\W+/g, '-'));
      const calibration = { source: 'demo', samples: 16, sequenceLength: 256 };
      await quantizeDirect({ model: MODEL, output: quantized, calibration, ...changes });
      const checkpoint = await openCheckpoint(quantized);
      const { model } = await exportOnnx({ from: checkpoint, to: `${quantized}-onnx` });

      const words = [join(__dirname, 'onnx-readers.py'), `${quantized}-onnx`, model, PROMPT, String(NEW_TOKENS)];
      const { stdout } = await promisify(execFile)(PYTHON as string, words, { maxBuffer: 1 << 24 });
      const theirs = JSON.parse(stdout.trim().split('\n').at(-1) as string);

      const promptTokens = await (await loadTokenizer(quantized)).encode(PROMPT);
      const { eos_token_id: end } = checkpoint.config;
      const own = await generate({
        checkpoint,
        promptTokens,
        maxNewTokens: NEW_TOKENS,
        temperature: 0,
        seed: 0,
        stopTokens: [end as number],
        threads: 1,
      });
      expect(theirs).toEqual({
        opsets: { '': 21, 'com.microsoft': 1 },
        operators: ['GroupQueryAttention', 'MatMulNBits', 'SkipSimplifiedLayerNormalization'],
        prompt: [...promptTokens],
        tokens: [...promptTokens, ...own],
      });
    },
    1_800_000,
  );
});
