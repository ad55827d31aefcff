import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { AutoModelForCausalLM, AutoTokenizer, env } from '@huggingface/transformers';
import { loadTokenizer } from '../../engine/calibration';
import { type CheckpointReader, openCheckpoint, verifyCheckpoint } from '../../engine/checkpoints';
import { exportOnnx, type OnnxExport } from '../../engine/checkpoints/onnx';
import { generate } from '../../engine/evaluation';
import { denseModel, headTensor, readHead, readStages } from '../../engine/evaluation/dense-model';
import { createDecodeRunner, createHeadRunner, embed } from '../../engine/graphs';
import type { QuantizationSpecInput } from '../../engine/spec';
import { openOnnxDecoder } from '../support/onnx-decoder';
import { readGolden, relativeDifference, type TinyModelName, tinyModelDirectory } from '../tiny-models';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

const PROMPT = 'The quick brown fox jumps over the lazy dog and';
const NEW_TOKENS = 24;
const CALIBRATION = { source: 'demo', samples: 8, sequenceLength: 128 };
/** Of the spread of the logits: both sides compute with the same weights in float32, and add in orders of their own. */
const TOLERANCE = 1e-5;

const CASES: readonly [string, Partial<QuantizationSpecInput>, string][] = [
  ['4 bit', { recipe: { bits: 4, groupSize: 64 } }, 'q4'],
  ['8 bit, one group a row', { recipe: { bits: 8, groupSize: -1 } }, 'q8'],
  [
    '3 bit asymmetric in dynamic act-order',
    { recipe: { bits: 3, groupSize: 32, symmetric: false, actOrder: 'dynamic' } },
    'q4',
  ],
  [
    'mixed widths, a layer that is kept, a quantized head',
    {
      recipe: { bits: 4, groupSize: 128, symmetric: false },
      keepHead: false,
      overrides: [
        { match: '*.down_proj', bits: 8 },
        { match: 'model.layers.2.*', skip: true },
      ],
    },
    'q4',
  ],
  ['NF4, which is written in floats', { recipe: { method: 'nf4' } }, 'fp32'],
];
const FILES: Readonly<Record<string, string>> = {
  q4: 'model_q4.onnx',
  q8: 'model_quantized.onnx',
  fp32: 'model.onnx',
};

describe('a quantized model in ONNX', () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-onnx-'));
    env.allowRemoteModels = false;
    env.localModelPath = directory;
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  it.each<[TinyModelName, Partial<QuantizationSpecInput>, string]>([
    ['mixtral-grouped', { recipe: { bits: 4, groupSize: 32, symmetric: false } }, 'model_q4.onnx'],
    [
      'qwen2moe-shared',
      { recipe: { bits: 3, groupSize: 32, actOrder: 'dynamic' }, overrides: [{ match: '*.experts.1.*', skip: true }] },
      'model_q4.onnx',
    ],
    ['qwen3moe-grouped', { recipe: { bits: 8, groupSize: -1 } }, 'model_quantized.onnx'],
  ])('of experts: the logits of what is read back, and verified (%s, %j)', async (name, changes, file) => {
    const output = join(directory, name);
    const model = tinyModelDirectory(name);
    const calibration = { source: 'demo', samples: 8, sequenceLength: 24 };
    await quantizeDirect({ model, output, calibration, formats: ['onnx'], ...changes });
    const checkpoint = await openCheckpoint(output);
    const tokens = Int32Array.from(readGolden(name).integers('tokens').slice(0, 24));
    const decoder = await openOnnxDecoder(join(output, 'onnx', file));
    const logits = await decoder.advance([[...tokens]]);
    await decoder.close();
    expect(relativeDifference(logits, await ownLogits(checkpoint, tokens))).toBeLessThan(TOLERANCE);
    expect((await verifyCheckpoint(output)).checks.flatMap(({ findings }) => findings)).toEqual([]);
  });

  it.each<[string, string, Partial<QuantizationSpecInput>, bits: number]>([
    ['of the demo model, 8 bit', 'demo', { recipe: { bits: 4, groupSize: 64 }, embedding: 'int8' }, 8],
    [
      'of the demo model, 4 bit asymmetric, a row in one group',
      'demo',
      { recipe: { bits: 8, groupSize: -1, symmetric: false }, embedding: 'int4' },
      4,
    ],
    [
      'and a head that is quantized with Hessians',
      'demo',
      { recipe: { bits: 4 }, embedding: 'int4', keepHead: false },
      4,
    ],
    ['untied from its head', 'qwen3moe-grouped', { recipe: { bits: 8, groupSize: -1 }, embedding: 'int8' }, 8],
  ])('with an embedding in integers: %s', async (name, source, changes, bits) => {
    const folder = name.replaceAll(/\W+/g, '-');
    const output = join(directory, folder);
    const model = source === 'demo' ? source : tinyModelDirectory(source as TinyModelName);
    const calibration = source === 'demo' ? CALIBRATION : { source: 'demo', samples: 8, sequenceLength: 24 };
    await quantizeDirect({ model, output, calibration, formats: ['onnx'], quality: 'fast', ...changes });
    const checkpoint = await openCheckpoint(output);
    const tokens =
      source === 'demo'
        ? await (await loadTokenizer(output)).encode(PROMPT)
        : Int32Array.from(
            readGolden(source as TinyModelName)
              .integers('tokens')
              .slice(0, 24),
          );

    const table = await checkpoint.linear('model.embed_tokens');
    expect(table).toMatchObject({ kind: 'affine', bits });
    const [onnx] = ['model_q4.onnx', 'model_quantized.onnx'].filter((file) => existsSync(join(output, 'onnx', file)));
    const decoder = await openOnnxDecoder(join(output, 'onnx', onnx as string));
    const logits = await decoder.advance([[...tokens]]);
    await decoder.close();
    expect(relativeDifference(logits, await ownLogits(checkpoint, tokens))).toBeLessThan(TOLERANCE);
    expect((await verifyCheckpoint(output)).checks.flatMap(({ findings }) => findings)).toEqual([]);

    if (source !== 'demo') return;
    const own = await generate({
      ...{ checkpoint, promptTokens: tokens, maxNewTokens: NEW_TOKENS },
      ...{ temperature: 0, seed: 0, threads: 1 },
    });
    const loaded = await AutoModelForCausalLM.from_pretrained(folder);
    const tokenizer = await AutoTokenizer.from_pretrained(folder);
    const found = await loaded.generate({ ...tokenizer(PROMPT), max_new_tokens: NEW_TOKENS, do_sample: false });
    await loaded.dispose();
    expect((found as { tolist(): bigint[][] }).tolist()[0]?.map(Number)).toEqual([...tokens, ...own]);
  });

  describe.each(CASES)('%s', (name, changes, dtype) => {
    const output = name.replaceAll(/\W+/g, '-');
    let checkpoint: CheckpointReader;
    let written: OnnxExport;
    let promptTokens: Int32Array;

    beforeAll(async () => {
      const quantized = join(directory, `${output}-gptq`);
      await quantizeDirect({ model: 'demo', output: quantized, calibration: CALIBRATION, quality: 'fast', ...changes });
      checkpoint = await openCheckpoint(quantized);
      written = await exportOnnx({ from: checkpoint, to: join(directory, output) });
      promptTokens = await (await loadTokenizer(quantized)).encode(PROMPT);
    });

    it('has the logits of the checkpoint: the prompt at once, then token by token with a cache', async () => {
      const expected = await ownLogits(checkpoint, promptTokens);
      const decoder = await openOnnxDecoder(written.model);
      const half = promptTokens.length >> 1;
      const parts = [promptTokens.slice(0, half), ...Array.from(promptTokens.slice(half), (token) => [token])];
      const logits: number[] = [];
      for (const part of parts) logits.push(...(await decoder.advance([[...part]])));
      await decoder.close();
      expect(relativeDifference(Float32Array.from(logits), expected)).toBeLessThan(TOLERANCE);
    });

    it('is found and continued by transformers.js as by generate', async () => {
      expect(written.dtype).toBe(dtype);
      const own = await generate({
        checkpoint,
        promptTokens,
        maxNewTokens: NEW_TOKENS,
        temperature: 0,
        seed: 0,
        threads: 1,
      });
      const tokenizer = await AutoTokenizer.from_pretrained(output);
      const model = await AutoModelForCausalLM.from_pretrained(output);
      const tokens = await model.generate({ ...tokenizer(PROMPT), max_new_tokens: NEW_TOKENS, do_sample: false });
      await model.dispose();
      expect((tokens as { tolist(): bigint[][] }).tolist()[0]?.map(Number)).toEqual([...promptTokens, ...own]);
      expect(basename(written.model)).toBe(FILES[dtype]);
    });
  });
});

/** Of every token, by the graphs that `generate` runs. */
async function ownLogits(checkpoint: CheckpointReader, tokens: Int32Array): Promise<Float32Array> {
  const model = denseModel(checkpoint);
  const { architecture, shape, blocks } = model;
  const stages = blocks.flatMap((block) => block.stages);
  const weights = await readStages(stages, checkpoint);
  const embedding = await checkpoint.float(architecture.embedding);
  const weight = await checkpoint.float(headTensor(model));
  const common = { architecture: architecture.name, shape, threads: 1 };
  const decoder = await createDecodeRunner({ ...common, blocks, weights, maxTokens: tokens.length });
  const head = createHeadRunner({ ...common, weight, ...(await readHead(model)) });
  return head.logits(await decoder.advance(embed(tokens, embedding)));
}
