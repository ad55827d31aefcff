import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { WorkflowFailedError } from '@temporalio/client';
import { openCheckpoint, verifyCheckpoint } from '../../engine/checkpoints';
import type { QuantizationSpecInput } from '../../engine/spec';
import { openFileStore } from '../../engine/store';
import { demoSpec } from '../support/demo-spec';
import { type JobStack, startJobStack } from '../support/job-stack';
import { SHORT_LAYERS, shortDemo } from '../support/short-demo';
import { weightDigests } from '../support/weight-files';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

describe('the workflow quantizeModel', () => {
  let stack: JobStack;
  let model: string;

  beforeAll(async () => {
    stack = await startJobStack();
    model = await shortDemo(stack.directory);
  }, 60_000);

  afterAll(() => stack.stop(), 60_000);

  it.each(['stage', 'layer', 'independent'] as const)(
    'writes the bytes that the engine alone writes (order %s)',
    async (order) => {
      const durable = stack.output(`durable-${order}`);
      const direct = stack.output(`direct-${order}`);
      const changes = order === 'stage' ? { order } : { order, model };
      const result = await stack.run(demoSpec(durable, changes), `job-${order}`);
      await quantizeDirect(demoSpec(direct, changes));
      expect(await weightDigests(durable)).toEqual(await weightDigests(direct));
      expect(result.outputs).toEqual({ gptq: durable });
      expect((await verifyCheckpoint(durable)).passed).toBe(true);
    },
    300_000,
  );

  it.each([true, false])(
    'writes the bytes that the engine alone writes from a rotated model (head kept: %s)',
    async (keepHead) => {
      const durable = stack.output(`rotated-durable-${keepHead}`);
      const direct = stack.output(`rotated-direct-${keepHead}`);
      // A linear that is kept is rotated all the same, and written in the dtype of the source.
      const overrides = [{ match: 'model.layers.1.mlp.up_proj', skip: true }];
      const changes = { model, rotation: 'hadamard', keepHead, overrides } as const;
      await stack.run(demoSpec(durable, changes), `rotated-${keepHead}`);
      await quantizeDirect(demoSpec(direct, changes));
      expect(await weightDigests(durable)).toEqual(await weightDigests(direct));
      expect((await verifyCheckpoint(durable)).passed).toBe(true);
      const { config, shape, float } = await openCheckpoint(durable);
      expect(config.tie_word_embeddings).toBe(false);
      expect(await shape('lm_head.weight')).toEqual([2048, 256]);
      expect(new Set((await float('model.norm.weight')).data)).toEqual(new Set([1]));
    },
    300_000,
  );

  it('shares a solve over several activities, and finds what others have solved whole', async () => {
    const seed = { source: 'demo', samples: 8, sequenceLength: 64, sliceTokens: 128, seed: 5 };
    const changes: Partial<QuantizationSpecInput> = { model, calibration: seed };
    const before = stack.log.length;
    await stack.run(demoSpec(stack.output('shared'), { ...changes, solveParts: 3 }), 'shared');
    expect(stack.log.slice(before).filter(({ step }) => step === 'quantize-rows')).toHaveLength(SHORT_LAYERS * 4 * 3);
    await quantizeDirect(demoSpec(stack.output('direct-shared'), changes));
    expect(await weightDigests(stack.output('shared'))).toEqual(await weightDigests(stack.output('direct-shared')));

    const between = stack.log.length;
    await stack.run(demoSpec(stack.output('whole'), changes), 'whole');
    const again = await stack.run(demoSpec(stack.output('other-parts'), { ...changes, solveParts: 2 }), 'other-parts');
    expect(
      stack.log.slice(between).filter(({ event, step }) => event === 'computed' && step?.startsWith('quantize')),
    ).toEqual([]);
    expect(again.computed).toBe(0);
  }, 300_000);

  it('finds everything in the store when it runs again', async () => {
    const spec = demoSpec(stack.output('again'), { order: 'stage' });
    const first = await stack.run(spec, 'again-1');
    const before = stack.log.length;
    const second = await stack.run({ ...spec, output: stack.output('again-2') }, 'again-2');
    expect(stack.log.slice(before).filter(({ event }) => event === 'computed')).toHaveLength(1);
    // Four layers and what no layer owns: when they are packed, and once more at the end.
    expect(stack.log.slice(before).filter(({ step }) => step === 'verify-shard')).toHaveLength(2 * 5);
    expect(second.cached).toBe(first.cached + first.computed);
    expect(await weightDigests(stack.output('again-2'))).toEqual(await weightDigests(stack.output('again')));
  }, 300_000);

  it('computes a damaged artifact again and goes on', async () => {
    const spec = demoSpec(stack.output('damaged'), { order: 'stage' });
    const shards: string[] = [];
    const store = await openFileStore(stack.storeDirectory);
    for await (const { sha256, bytes } of store.artifacts()) if (bytes > 200_000) shards.push(sha256);
    for (const sha256 of shards) {
      const path = join(stack.storeDirectory, 'objects', sha256.slice(0, 2), sha256);
      const content = await readFile(path);
      content[content.length >> 1] = (content[content.length >> 1] as number) ^ 1;
      await writeFile(path, content);
    }
    const before = stack.log.length;
    await stack.run(spec, 'damaged');
    expect(stack.log.slice(before).some(({ event }) => event === 'recomputing')).toBe(true);
    expect((await verifyCheckpoint(stack.output('damaged'))).passed).toBe(true);
    expect(await weightDigests(stack.output('damaged'))).toEqual(await weightDigests(stack.output('durable-stage')));
  }, 300_000);

  it('refuses a wrong object at once, by name of the field', async () => {
    const spec = { model: 'demo', output: stack.output('refused'), recipe: { bits: 7 }, colour: 'red' };
    const failure = await stack.run(spec as never, 'refused').catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(WorkflowFailedError);
    expect((failure as WorkflowFailedError).cause?.message).toMatch(/recipe\.bits.*colour|colour.*recipe\.bits/s);
    const { status } = await stack.client.workflow.getHandle('refused').describe();
    expect(status.name).toBe('FAILED');
  }, 60_000);

  it('quantizes a head that is tied to the embedding as a tensor of its own', async () => {
    const output = stack.output('head');
    const overrides = [{ match: 'model.*', skip: true }];
    await stack.run(demoSpec(output, { keepHead: false, overrides }), 'head');
    expect((await verifyCheckpoint(output)).passed).toBe(true);
    const checkpoint = await openCheckpoint(output);
    expect(checkpoint.config.tie_word_embeddings).toBe(false);
    const [head, embedding] = [
      await checkpoint.float('lm_head.weight'),
      await checkpoint.float('model.embed_tokens.weight'),
    ];
    const distance = head.data.reduce((sum, value, i) => sum + (value - (embedding.data[i] as number)) ** 2, 0);
    const energy = embedding.data.reduce((sum, value) => sum + value ** 2, 0);
    expect(distance / energy).toBeGreaterThan(0);
    expect(distance / energy).toBeLessThan(0.05);
  }, 300_000);

  const bitsandbytes: [string, QuantizationSpecInput['recipe'], number][] = [
    ['nf4', { method: 'nf4' }, 4.2],
    ['llm-int8', { method: 'llm-int8' }, 8.1],
  ];
  it.each(bitsandbytes)(
    'quantizes by %s without calibration, as bitsandbytes stores it, shared or not, as directly',
    async (name, recipe, bits) => {
      const output = stack.output(name);
      const spec = demoSpec(output, { recipe, overrides: [{ match: '*.layers.1.mlp.*', skip: true }] });
      const { calibration: _, ...rest } = { ...spec, solveParts: 2 };
      const result = await stack.run(rest, name);
      expect(result.outputs).toEqual({ bitsandbytes: output });
      expect(result.bitsPerWeight).toBeCloseTo(bits, 0);
      expect(result.meanRelativeError).toBeNull();
      expect(await verifyCheckpoint(output)).toMatchObject({ kind: 'bitsandbytes', passed: true });
      const direct = stack.output(`${name}-direct`);
      await quantizeDirect({ ...rest, output: direct });
      expect(await weightDigests(output)).toEqual(await weightDigests(direct));
      const [reader, source] = [await openCheckpoint(output), await openCheckpoint('assets/demo-model')];
      expect(reader.names()).toEqual(source.names());
      expect(reader.quantized('model.layers.1.mlp.up_proj.weight')).toBe(false);
      const weight = 'model.layers.2.mlp.up_proj.weight';
      const [own, original] = [await reader.float(weight), await source.float(weight)];
      expect(own.shape).toEqual(await reader.shape(weight));
      const distance = own.data.reduce((sum, value, i) => sum + (value - (original.data[i] as number)) ** 2, 0);
      expect(distance / original.data.reduce((sum, value) => sum + value ** 2, 0)).toBeLessThan(0.02);
    },
    300_000,
  );

  it('quantizes to nearest without calibration, in both GPTQ versions at once', async () => {
    const output = stack.output('nearest');
    const result = await stack.run(
      demoSpec(output, {
        recipe: { method: 'rtn', bits: 4, groupSize: 64, symmetric: false },
        formats: ['gptq', 'gptq_v2'],
      }),
      'nearest',
    );
    expect(result.outputs).toEqual({ gptq: join(output, 'gptq'), gptq_v2: join(output, 'gptq_v2') });
    const [first, second] = [await openCheckpoint(join(output, 'gptq')), await openCheckpoint(join(output, 'gptq_v2'))];
    const name = 'model.layers.2.mlp.up_proj.weight';
    expect((await first.float(name)).data).toEqual((await second.float(name)).data);
  }, 300_000);
});
