import {
  LONG_MODELS,
  readGolden,
  relativeDifference,
  SPARSE_MODELS,
  TINY_MODELS,
  type TinyModelName,
  tinyModelDirectory,
} from '../../test/tiny-models';
import { openCheckpoint } from '../checkpoints';
import { denseModel, readStages } from '../evaluation/dense-model';
import type { GramPrecision, KernelChoice } from '../kernels';
import { type Architecture, type Block, calibratingStage, llama, type ModelShape, type Stage } from '../models';
import { matricesOfStack } from '../quantizers';
import type { FloatTensor } from '../spec';
import { embed } from './embed';
import { createHeadRunner } from './head-runner';
import { addPositions } from './learned-positions';
import { scaleEmbedding } from './scale-embedding';
import { createStageRunner, type StageResult } from './stage-runner';

interface TinyModel {
  architecture: Architecture;
  shape: ModelShape;
  blocks: readonly Block[];
  weights: Map<string, FloatTensor>;
}

async function load(name: TinyModelName): Promise<TinyModel> {
  const checkpoint = await openCheckpoint(tinyModelDirectory(name));
  const { architecture, shape, blocks } = denseModel(checkpoint);
  const stages = blocks.flatMap((block) => block.stages);
  const weights = await readStages(stages, checkpoint);
  for (const tensor of architecture.outside(shape).keys()) weights.set(tensor, await checkpoint.float(tensor));
  if (!shape.tiedHead) weights.set(architecture.head, await checkpoint.float(architecture.head));
  return { architecture, shape, weights, blocks };
}

interface ForwardOptions {
  model: TinyModel;
  tokens: Int32Array;
  sequences: number;
  threads?: number;
  batchTokens?: number;
  temporaryBytes?: number;
  gram?: boolean;
  precision?: GramPrecision;
  kernels?: KernelChoice;
  allExperts?: boolean;
}

/** All stages of all blocks; results by `<block>/<stage>`. */
async function forward(options: ForwardOptions): Promise<Map<string, StageResult>> {
  const { model, tokens, sequences, threads = 1, batchTokens, temporaryBytes, gram = true } = options;
  const { architecture, shape, weights, blocks } = model;
  const { precision, kernels, allExperts = false } = options;
  const given = { architecture: architecture.name, shape, threads, temporaryBytes };
  const runner = createStageRunner({ ...given, precision, kernels });
  const data = scaleEmbedding(embed(tokens, weights.get(architecture.embedding) as FloatTensor), shape);
  const positions = architecture.positions && weights.get(architecture.positions);
  if (positions) addPositions(data, positions, { shape, sequenceLength: tokens.length / sequences });
  const hidden = { shape: [sequences, tokens.length / sequences, shape.hiddenSize], data };
  let activations = new Map([['hidden', hidden as FloatTensor]]);
  const results = new Map<string, StageResult>();
  for (const block of blocks) {
    for (const stage of block.stages) {
      const calibrating = calibratingStage(stage, { allExperts });
      const result = await runner.run({ stage: calibrating, activations, weights, gram, batchTokens });
      results.set(`${block.name}/${stage.name}`, result);
      activations = result.activations;
    }
  }
  return results;
}

function logitsOf({ architecture, shape, weights, blocks }: TinyModel, hidden: Float32Array): Promise<Float32Array> {
  const tensor = (name: string) => weights.get(name) as FloatTensor;
  const weight = tensor(shape.tiedHead ? architecture.embedding : architecture.head);
  const norm = tensor(architecture.finalNorm);
  const normBias = weights.get(blocks.at(-1)?.stages[0]?.parameters['norm.bias'] ?? '');
  const given = { architecture: architecture.name, shape, threads: 1, norm, weight };
  return createHeadRunner({ ...given, ...(normBias && { normBias }) }).logits(hidden);
}

async function matricesOf(stack: Float32Array): Promise<{ tokens: number; matrix: Float32Array }[]> {
  let end = 0;
  const read = async (floats: number) => {
    end += floats;
    return stack.subarray(end - floats, end);
  };
  const matrices: { tokens: number; matrix: Float32Array }[] = [];
  for await (const matrix of matricesOfStack(read)) matrices.push(matrix);
  expect(end).toBe(stack.length);
  return matrices;
}

function lastHidden(results: Map<string, StageResult>): Float32Array {
  return results.get('lm_head/head-input')?.activations.get('hidden')?.data as Float32Array;
}

function bytesOf(results: Map<string, StageResult>): string[] {
  return [...results].flatMap(([name, { activations, gram }]) => [
    ...[...activations].map(([activation, { data }]) => `${name} ${activation} ${hexOf(data)}`),
    `${name} gram ${gram && hexOf(gram)}`,
  ]);
}

function hexOf({ buffer, byteOffset, byteLength }: Float32Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('hex');
}

describe.each(TINY_MODELS)('stages of a random model, against transformers: %s', (name) => {
  const golden = readGolden(name);
  let model: TinyModel;
  let results: Map<string, StageResult>;

  beforeAll(async () => {
    model = await load(name);
    results = await forward({ model, tokens: golden.integers('tokens'), sequences: 2 });
  });

  it('lead to the same logits', async () => {
    const logits = await logitsOf(model, lastHidden(results));
    expect(relativeDifference(logits, golden.floats('logits'))).toBeLessThan(1e-5);
  });

  const isSparse = SPARSE_MODELS.includes(name);
  const stages = ['attention-input', 'attention', ...(isSparse ? [] : ['mlp-input', 'mlp'])];

  it.each(stages)('capture the same XᵀX: %s', (stage) => {
    const { gram, tokens } = results.get(`${model.blocks[1]?.name}/${stage}`) as StageResult;
    expect(relativeDifference(gram as Float32Array, golden.floats(`gram.${stage}`))).toBeLessThan(1e-5);
    expect(tokens).toBe(48);
  });

  const itHasExperts = isSparse ? it : () => undefined;

  itHasExperts('capture an XᵀX for every expert, of the tokens that are routed to it, or of all', async () => {
    const layer = model.blocks[1]?.name;
    const tokens = golden.integers('tokens');
    const counts = [...golden.floats('expert_tokens')];
    const shared = (model.shape.experts?.sharedIntermediateSize ?? 0) > 0;
    const all = await forward({ model, tokens, sequences: 2, allExperts: true });
    expect(hexOf(lastHidden(all))).toBe(hexOf(lastHidden(results)));
    for (const stage of ['experts-input', 'experts']) {
      const found = await matricesOf(results.get(`${layer}/${stage}`)?.gram as Float32Array);
      const names = [...counts.keys(), ...(shared ? ['shared'] : [])];
      expect(found.map((input) => input.tokens)).toEqual([...counts, ...(shared ? [48] : [])]);
      for (const [i, name] of names.entries()) {
        const expected = golden.floats(`gram.${stage}.${name}`);
        expect(relativeDifference(found[i]?.matrix as Float32Array, expected)).toBeLessThan(1e-5);
      }
    }
    const { gram } = all.get(`${layer}/experts-input`) as StageResult;
    expect(relativeDifference(gram as Float32Array, golden.floats('gram.experts-input.all'))).toBeLessThan(1e-5);
    const products = await matricesOf(all.get(`${layer}/experts`)?.gram as Float32Array);
    for (const expert of counts.keys()) {
      const expected = golden.floats(`gram.experts.all.${expert}`);
      expect(products[expert]?.tokens).toBe(48);
      expect(relativeDifference(products[expert]?.matrix as Float32Array, expected)).toBeLessThan(1e-5);
    }
  });

  it("capture the head's XᵀX too", () => {
    const { gram } = results.get('lm_head/head-input') as StageResult;
    expect(relativeDifference(gram as Float32Array, golden.floats('gram.head-input'))).toBeLessThan(1e-5);
  });

  const itTakesLongOnes = LONG_MODELS.includes(name) ? it : () => undefined;

  itTakesLongOnes('agree on a sequence that takes several blocks of attention', async () => {
    const long = await forward({ model, tokens: golden.integers('long_tokens'), sequences: 1, gram: false });
    const hidden = lastHidden(long);
    const { hiddenSize, vocabularySize } = model.shape;
    const positions = golden.integers('long_positions');
    const actual = new Float32Array(positions.length * vocabularySize);
    for (const [i, position] of positions.entries()) {
      const row = hidden.subarray(position * hiddenSize, (position + 1) * hiddenSize);
      actual.set(await logitsOf(model, row), i * vocabularySize);
    }
    expect(relativeDifference(actual, golden.floats('long_logits'))).toBeLessThan(1e-5);
  });

  it('give the same bytes on one thread and on two', async () => {
    const inputs = [
      ['tokens', 2],
      ['long_tokens', 1],
    ] as const;
    for (const [key, sequences] of LONG_MODELS.includes(name) ? inputs : inputs.slice(0, 1)) {
      const [one, two] = await Promise.all(
        [1, 2].map((threads) => forward({ model, tokens: golden.integers(key), sequences, threads })),
      );
      expect(bytesOf(two as typeof results)).toEqual(bytesOf(one as typeof results));
    }
  });

  it.each([
    ['float32', 1e-5],
    ['bfloat16', isSparse ? 4e-3 : 2e-3],
  ] as const)('with %s factors are the same in one graph and with native products', async (precision, tolerance) => {
    const model = await load(name);
    const input = { model, tokens: golden.integers('tokens'), sequences: 2, precision };
    const inGraph = await forward({ ...input, kernels: 'typescript' });
    const native = await forward({ ...input, kernels: 'native' });
    const exact = await forward({ ...input, precision: 'float32', kernels: 'typescript' });
    for (const [stage, { gram }] of inGraph) {
      const found = native.get(stage)?.gram as Float32Array;
      expect(relativeDifference(found, gram as Float32Array)).toBeLessThan(tolerance);
      // Rounding is seen, and stays what 8 bits of mantissa make of it.
      const rounding = relativeDifference(found, exact.get(stage)?.gram as Float32Array);
      // A token may then have another expert.
      const most = isSparse ? 0.3 : 2e-2;
      expect(rounding).toBeLessThan(precision === 'bfloat16' ? most : tolerance);
      expect(rounding > 1e-5).toBe(precision === 'bfloat16');
    }
  });

  it('leave the same activations whether or not XᵀX is asked for', async () => {
    const without = await forward({ model, tokens: golden.integers('tokens'), sequences: 2, gram: false });
    expect(hexOf(lastHidden(without))).toBe(hexOf(lastHidden(results)));
    expect([...without.values()].every(({ gram }) => gram === null)).toBe(true);
  });
});

describe('sub-batches of whole sequences', () => {
  const tokens = readGolden('plain').integers('long_tokens');

  it.each([{ batchTokens: 1 }, { batchTokens: 250 }, { temporaryBytes: 1 }])(
    'leave the same activations, and XᵀX to rounding: %j',
    async (bounds) => {
      const model = await load('plain');
      const whole = await forward({ model, tokens, sequences: 6 });
      const parts = await forward({ model, tokens, sequences: 6, ...bounds });
      expect(hexOf(lastHidden(parts))).toBe(hexOf(lastHidden(whole)));
      for (const [name, { gram }] of parts) {
        expect(relativeDifference(gram as Float32Array, whole.get(name)?.gram as Float32Array)).toBeLessThan(1e-6);
      }
    },
  );
});

describe('the number of threads', () => {
  // Wide enough that onnxruntime shares the products out, with fewer tokens than columns so that it cuts between columns.
  const shape = llama.shape({
    hidden_size: 192,
    intermediate_size: 576,
    num_hidden_layers: 1,
    num_attention_heads: 6,
    num_key_value_heads: 2,
    vocab_size: 64,
  });

  function wideModel(): TinyModel {
    const blocks = llama.blocks(shape, () => false);
    const tensors = [...blocks.flatMap((block) => [...block.tensors])];
    tensors.push([llama.embedding, [64, 192]], [llama.finalNorm, [192]]);
    const weights = new Map(
      tensors.map(([name, dimensions], t) => {
        const data = new Float32Array(dimensions.reduce((product, size) => product * size, 1));
        return [name, { shape: dimensions, data: data.map((_, i) => Math.sin((i + 1) * (i + t)) / 8) }];
      }),
    );
    return { architecture: llama, shape, blocks, weights };
  }

  it.each([8, 150, 300])('does not change a byte on sequences of %i tokens', async (length) => {
    const model = wideModel();
    const tokens = Int32Array.from({ length }, (_, i) => (i * i) % 64);
    const one = bytesOf(await forward({ model, tokens, sequences: 1, threads: 1 }));
    for (const threads of [2, 3, 8]) {
      expect(bytesOf(await forward({ model, tokens, sequences: 1, threads }))).toEqual(one);
    }
  });
});

describe('a stage', () => {
  const golden = readGolden('plain');

  function stageNamed(model: TinyModel, block: number, name: string): Stage {
    return model.blocks[block]?.stages.find((stage) => stage.name === name) as Stage;
  }

  function randomHidden(sequences: number, poison: readonly (readonly [number, number])[] = []): FloatTensor {
    const data = new Float32Array(sequences * 4 * 32).map((_, i) => Math.sin(i * i));
    for (const [sequence, value] of poison) data[sequence * 4 * 32 + 40] = value;
    return { shape: [sequences, 4, 32], data };
  }

  it('leaves sequences with NaN or infinity out of XᵀX and counts them', async () => {
    const model = await load('plain');
    const runner = createStageRunner({ architecture: 'llama', shape: model.shape, threads: 1 });
    const stage = stageNamed(model, 0, 'mlp');
    const run = (hidden: FloatTensor, batchTokens?: number) =>
      runner.run({
        stage,
        activations: new Map([['hidden', hidden]]),
        weights: model.weights,
        gram: true,
        batchTokens,
      });
    const poisoned = randomHidden(5, [
      [1, Number.NaN],
      [4, Number.POSITIVE_INFINITY],
    ]);
    const healthy = randomHidden(5).data;
    const rows = [0, 2, 3].map((sequence) => healthy.subarray(sequence * 128, (sequence + 1) * 128));
    const clean = { shape: [3, 4, 32], data: Float32Array.from(rows.flatMap((row) => [...row])) };

    const expected = await run(clean);
    expect(expected).toMatchObject({ nonFiniteSequences: 0, tokens: 12 });
    for (const batchTokens of [undefined, 8, 1]) {
      const found = await run(poisoned, batchTokens);
      expect(found).toMatchObject({ nonFiniteSequences: 2, tokens: 12 });
      expect(relativeDifference(found.gram as Float32Array, expected.gram as Float32Array)).toBeLessThan(1e-6);
      expect(Number.isFinite(found.activations.get('product')?.data[2 * 4 * 80])).toBe(true);
    }
  });

  it('gives a zero XᵀX when no sequence is finite', async () => {
    const model = await load('plain');
    const runner = createStageRunner({ architecture: 'llama', shape: model.shape, threads: 1 });
    const result = await runner.run({
      stage: stageNamed(model, 0, 'attention-input'),
      activations: new Map([['hidden', randomHidden(1, [[0, Number.NaN]])]]),
      weights: model.weights,
      gram: true,
    });
    expect(result).toMatchObject({ nonFiniteSequences: 1, tokens: 0, gram: new Float32Array(32 * 32) });
  });

  it('passes on what it does not change, without a copy', async () => {
    const model = await load('plain');
    const results = await forward({ model, tokens: golden.integers('tokens'), sequences: 2 });
    const hiddenAfter = (stage: string) => results.get(stage)?.activations.get('hidden');
    expect(hiddenAfter('model.layers.0/attention')).toBe(hiddenAfter('model.layers.0/attention-input'));
    for (const { name, stages } of model.blocks) {
      for (const stage of stages) {
        expect([...(results.get(`${name}/${stage.name}`)?.activations.keys() ?? [])].sort()).toEqual(
          [...stage.leaves].sort(),
        );
      }
    }
  });

  it('names a weight that is missing or has another shape, and an activation that does not fit', async () => {
    const model = await load('plain');
    const runner = createStageRunner({ architecture: 'llama', shape: model.shape, threads: 1 });
    const stage = stageNamed(model, 0, 'attention');
    const run = (weights: Map<string, FloatTensor>, hidden: FloatTensor) =>
      runner.run({ stage, activations: new Map([['hidden', hidden]]), weights, gram: false });
    const key = 'model.layers.0.self_attn.k_proj.weight';
    const missing = new Map([...model.weights].filter(([name]) => name !== key));
    await expect(run(missing, randomHidden(1))).rejects.toThrow(`${key} is missing; expected shape [32, 32]`);
    const wrong = new Map([...model.weights, [key, { shape: [16, 32], data: new Float32Array(512) }] as const]);
    await expect(run(wrong, randomHidden(1))).rejects.toThrow(`${key} has shape [16, 32]; expected shape [32, 32]`);
    const narrow = { shape: [1, 4, 16], data: new Float32Array(64) };
    await expect(run(model.weights, narrow)).rejects.toMatchObject({ code: 'UnsupportedInput' });
  });

  it('stops when it is aborted', async () => {
    const model = await load('plain');
    const runner = createStageRunner({ architecture: 'llama', shape: model.shape, threads: 1 });
    const activations = new Map([['hidden', randomHidden(1)]]);
    const signal = AbortSignal.abort(new Error('enough'));
    const stage = stageNamed(model, 0, 'mlp');
    await expect(runner.run({ stage, activations, weights: model.weights, gram: true, signal })).rejects.toThrow(
      'enough',
    );
  });

  it('that no architecture knows is refused by name', async () => {
    const model = await load('plain');
    const runner = createStageRunner({ architecture: 'llama', shape: model.shape, threads: 1 });
    const stage = { ...stageNamed(model, 0, 'mlp'), name: 'mixer' };
    const activations = new Map([['hidden', randomHidden(1)]]);
    await expect(runner.run({ stage, activations, weights: model.weights, gram: false })).rejects.toThrow(
      /no graph for stage "mixer".*llama \(attention-input, attention/,
    );
  });
});
