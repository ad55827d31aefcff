import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCheckpoint, verifyCheckpoint } from '../../engine/checkpoints';
import { perplexity } from '../../engine/evaluation';
import { architectureOf } from '../../engine/models';
import { layerWorkflowId, type QuantizationSpecInput } from '../../engine/spec';
import type { LayerResult } from '../../workflows/quantize-layer';
import { type JobStack, startJobStack } from '../support/job-stack';
import { weightDigests } from '../support/weight-files';
import { readGolden, type TinyModelName, TOKENIZED_MODELS, tinyModelDirectory } from '../tiny-models';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

const CONTEXT = 24;
const CALIBRATION = { source: 'demo', samples: 8, sequenceLength: CONTEXT, sliceTokens: 96 };

function tinySpec(
  name: TinyModelName,
  output: string,
  changes: Partial<QuantizationSpecInput> = {},
): QuantizationSpecInput {
  return {
    model: tinyModelDirectory(name),
    output,
    recipe: { bits: 4, groupSize: 32 },
    calibration: CALIBRATION,
    ...changes,
  };
}

/** Mean of -log softmax(logits)[next token] of what transformers computes from the original, in float64. */
function lossOfOriginal(name: TinyModelName): number {
  const golden = readGolden(name);
  const [tokens, logits] = [golden.integers('tokens'), golden.floats('logits')];
  const vocabulary = logits.length / tokens.length;
  const losses = [...tokens.keys()].flatMap((i) => {
    if (i % CONTEXT === CONTEXT - 1) return [];
    const row = [...logits.subarray(i * vocabulary, (i + 1) * vocabulary)];
    return [Math.log(row.reduce((sum, z) => sum + Math.exp(z), 0)) - (row[tokens[i + 1] as number] as number)];
  });
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}

async function lossOf(directory: string, name: TinyModelName): Promise<number> {
  const tokens = readGolden(name).integers('tokens');
  const checkpoint = await openCheckpoint(directory);
  return (await perplexity({ checkpoint, tokens, context: CONTEXT, threads: 2 })).negativeLogLikelihood;
}

describe('models of every architecture', () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-architectures-'));
  });

  afterAll(() => rm(directory, { recursive: true }));

  it.each(TOKENIZED_MODELS)("quantized to 8 bit predict as transformers' original does: %s", async (name) => {
    const output = join(directory, name);
    await quantizeDirect(tinySpec(name, output, { recipe: { bits: 8, groupSize: 32 } }));
    expect((await verifyCheckpoint(output)).checks.flatMap(({ findings }) => findings)).toEqual([]);
    expect(Math.abs((await lossOf(output, name)) - lossOfOriginal(name))).toBeLessThan(0.05);
  });

  it.each(['qwen2-grouped', 'gpt2-bare'] as const)('keep what is not quantized as it was: %s', async (name) => {
    const output = join(directory, `${name}-kept`);
    const skipped = name === 'gpt2-bare' ? '*.0.mlp.c_fc' : '*.0.mlp.up_proj';
    await quantizeDirect(tinySpec(name, output, { overrides: [{ match: skipped, skip: true }] }));
    const [before, after] = [await openCheckpoint(tinyModelDirectory(name)), await openCheckpoint(output)];
    const { publishedName, buffers } = architectureOf(before.config, before.has);
    const dense = before.names().filter((tensor) => !buffers?.test(tensor) && !after.quantized(publishedName(tensor)));
    expect(dense.length).toBeGreaterThan(10);
    for (const tensor of dense) expect(await after.stored(publishedName(tensor))).toEqual(await before.stored(tensor));
    expect(after.names().length).toBe(before.names().filter((tensor) => !buffers?.test(tensor)).length);
  });
});

describe('the workflow quantizeModel on other architectures', () => {
  let stack: JobStack;

  beforeAll(async () => {
    stack = await startJobStack();
  }, 60_000);

  afterAll(() => stack.stop(), 60_000);

  it.each([
    ['gpt2-tied', { recipe: { bits: 3, groupSize: 32, mismatch: 0.5 } }],
    ['gpt2-tied', { averageBits: 3.5, order: 'independent' }],
    ['opt-tied', { recipe: { bits: 3, groupSize: 32, mismatch: 0.5 } }],
    ['opt-bare', { order: 'layer', keepHead: false, evaluation: { text: 'demo', context: CONTEXT } }],
    ['gemma2-grouped', { recipe: { bits: 3, groupSize: 32, mismatch: 0.5 } }],
    ['gemma3-grouped', { order: 'layer', evaluation: { text: 'demo', context: CONTEXT } }],
    ['phi3-grouped', { rotation: 'hadamard', keepHead: false }],
    ['mixtral-grouped', { recipe: { bits: 3, groupSize: 32, mismatch: 0.5 }, solveParts: 2 }],
    ['qwen2moe-shared', { averageBits: 3.5, order: 'independent' }],
    ['qwen2moe-dense', { calibration: { ...CALIBRATION, allExperts: true }, order: 'layer' }],
    ['qwen3moe-grouped', { rotation: 'hadamard', evaluation: { text: 'demo', context: CONTEXT } }],
    ['mixtral-grouped', { formats: ['gguf'], order: 'layer', solveParts: 2 }],
    ['qwen2moe-shared', { formats: ['gguf:q4_k_m'], recipe: { method: 'kquants' } }],
    ['qwen3moe-grouped', { formats: ['gguf:q3_k_s'], recipe: { method: 'gptq' }, order: 'independent' }],
    ['mistral-window', { calibration: { source: 'demo', samples: 8, sequenceLength: 64, sliceTokens: 128 } }],
    ['gpt2-bare', { overrides: [{ match: '*.1.mlp.c_proj', skip: true }], keepHead: false, solveParts: 2 }],
  ] as const)(
    'writes the bytes that the engine alone writes: %s, %j',
    async (name, changes) => {
      const id = `${name}-${Object.keys(changes)[0]}`;
      const [durable, direct] = [stack.output(`${id}-durable`), stack.output(`${id}-direct`)];
      await stack.run(tinySpec(name, durable, changes as Partial<QuantizationSpecInput>), id);
      await quantizeDirect(tinySpec(name, direct, changes as Partial<QuantizationSpecInput>));
      expect(await weightDigests(durable)).toEqual(await weightDigests(direct));
      expect((await verifyCheckpoint(durable)).passed).toBe(true);

      // References of many linears are a document of a stage, and are not in Temporal's history one by one.
      const layer: LayerResult = await stack.client.workflow.getHandle(layerWorkflowId(id, 1)).result();
      expect(Object.keys(layer.quantized).length).toBeLessThanOrEqual(12);
      expect(Object.values(layer.quantized).some(({ kind }) => kind === 'document')).toBe(/moe|mixtral/.test(name));
    },
    300_000,
  );
});
