import { readGolden, relativeDifference, type TinyModelName, tinyModelDirectory } from '../../test/tiny-models';
import { openCheckpoint } from '../checkpoints';
import { denseModel, readStages } from '../evaluation/dense-model';
import { capturedInputs } from '../models';
import type { FloatTensor } from '../spec';
import { embed } from './embed';
import { createStageRunner, type StageResult, type StageRun, type StageRunnerOptions } from './stage-runner';

type Way = Pick<StageRunnerOptions, 'precision' | 'kernels'>;

/** The first layer's stages, and what they were run on. */
async function run(name: TinyModelName, way: Way, wishes: Pick<StageRun, 'gram' | 'magnitudes' | 'batchTokens'>) {
  const checkpoint = await openCheckpoint(tinyModelDirectory(name));
  const { architecture, shape, blocks } = denseModel(checkpoint);
  const stages = blocks[0]?.stages ?? [];
  const weights = await readStages(stages, checkpoint);
  const tokens = readGolden(name).integers('tokens');
  const runner = createStageRunner({ architecture: architecture.name, shape, threads: 1, ...way });
  const data = embed(tokens, await checkpoint.float(architecture.embedding));
  const hidden: FloatTensor = { shape: [2, tokens.length / 2, shape.hiddenSize], data };
  let activations = new Map([['hidden', hidden]]);
  const results: Record<string, StageResult> = {};
  for (const stage of stages) {
    const result = await runner.run({ stage, activations, weights, ...wishes });
    results[stage.name] = result;
    activations = result.activations;
  }
  return { results, stages };
}

const largestOf = (values: Iterable<number>) => [...values].reduce((most, value) => Math.max(most, Math.abs(value)), 0);

describe.each<[string, Way]>([
  ['graphs', { precision: 'float32', kernels: 'typescript' }],
  ['graphs and a kernel for XᵀX', { precision: 'float32', kernels: 'native' }],
  ['native kernels', { precision: 'bfloat16', kernels: 'native' }],
])('magnitudes of captured inputs, by %s', (_, way) => {
  it.each([true, false])('are those of what the next stage reads, with XᵀX or without: %s', async (gram) => {
    const { results } = await run('plain', way, { gram, magnitudes: true });
    const product = results.mlp?.activations.get('product')?.data as Float32Array;
    expect(results.mlp?.magnitudes).toEqual([largestOf(product)]);
    const context = results.attention?.activations.get('context')?.data as Float32Array;
    expect(results.attention?.magnitudes).toEqual([largestOf(context)]);
    expect(results['attention-input']?.magnitudes?.[0]).toBeGreaterThan(0);
  });

  it('change nothing else, and do not depend on batches', async () => {
    const { results: without } = await run('plain', way, { gram: true });
    for (const batchTokens of [undefined, 8]) {
      const { results } = await run('plain', way, {
        gram: true,
        magnitudes: true,
        ...(batchTokens && { batchTokens }),
      });
      for (const [stage, { gram, activations, magnitudes }] of Object.entries(without)) {
        expect(magnitudes).toBeNull();
        const found = results[stage] as StageResult;
        expect(relativeDifference(found.gram as Float32Array, gram as Float32Array)).toBeLessThan(1e-6);
        if (batchTokens === undefined) expect(found.activations).toEqual(activations);
      }
    }
  });

  it('are found for each expert', async () => {
    const { results, stages } = await run('qwen2moe-shared', way, { gram: false, magnitudes: true });
    const stage = stages.find(({ name }) => name === 'experts');
    const inputs = capturedInputs(stage as NonNullable<typeof stage>);
    const { magnitudes } = results.experts as StageResult;
    expect(magnitudes).toHaveLength(inputs.length);
    const products = results.experts?.activations.get('expert-products')?.data as Float32Array;
    expect(largestOf(magnitudes ?? [])).toBe(largestOf(products));
    expect(new Set(magnitudes).size).toBeGreaterThan(2);
  });
});

it('leaves out sequences that are not finite', async () => {
  const checkpoint = await openCheckpoint(tinyModelDirectory('plain'));
  const { shape, blocks } = denseModel(checkpoint);
  const [stage] = blocks[0]?.stages ?? [];
  const runner = createStageRunner({ architecture: 'llama', shape, threads: 1 });
  const data = Float32Array.from({ length: 2 * 4 * shape.hiddenSize }, (_, i) => (i === 3 ? Number.NaN : Math.sin(i)));
  const weights = await readStages([stage as NonNullable<typeof stage>], checkpoint);
  const magnitudesOf = async (first: number, sequences: number) => {
    const some = data.slice(first * 4 * shape.hiddenSize, (first + sequences) * 4 * shape.hiddenSize);
    const hidden: FloatTensor = { shape: [sequences, 4, shape.hiddenSize], data: some };
    const activations = new Map([['hidden', hidden]]);
    const wishes = { gram: false, magnitudes: true };
    return (await runner.run({ stage: stage as NonNullable<typeof stage>, activations, weights, ...wishes }))
      .magnitudes;
  };
  expect(await magnitudesOf(0, 2)).toEqual(await magnitudesOf(1, 1));
  expect(await magnitudesOf(0, 1)).toEqual([0]);
});
