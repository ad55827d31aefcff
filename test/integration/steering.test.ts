import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { cp, readdir, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type WorkflowHandle, WorkflowUpdateFailedError } from '@temporalio/client';
import { openCheckpoint, parseManifest, verifyCheckpoint } from '../../engine/checkpoints';
import { storedLinears } from '../../engine/checkpoints/formats';
import { readWeightFiles } from '../../engine/checkpoints/weight-files';
import { resolveModelDirectory } from '../../engine/sources';
import { PROGRESS_QUERY, type Progress, type QuantizationSpecInput, UPDATES } from '../../engine/spec';
import { activityEvents } from '../support/activity-events';
import { type JobStack, startJobStack } from '../support/job-stack';
import { until } from '../support/until';

/**
 * Jobs are steered while they wait for a worker: without a GPU worker a calibrated job stops at the first stage of the first
 * layer, and a job that evaluates stops when its checkpoint is assembled but not published.
 */
describe('steering a job', () => {
  let stack: JobStack;
  let seed = 0;

  beforeAll(async () => {
    stack = await startJobStack({ workers: ['control', 'cpu'] });
  }, 60_000);

  afterAll(() => stack.stop(), 60_000);

  /** A seed of its own, so that no job finds its work done by another. */
  const calibrated = (id: string, changes: Partial<QuantizationSpecInput> = {}): QuantizationSpecInput => ({
    model: 'demo',
    output: stack.output(`out/${id}/result`),
    // Without a mismatch layers wait for nothing but themselves.
    recipe: { bits: 4, groupSize: 64, refinements: 0, scales: 'minmax', mismatch: 0 },
    calibration: { source: 'demo', samples: 2, sequenceLength: 32, sliceTokens: 32, seed: ++seed },
    ...changes,
  });
  const evaluated = (id: string): QuantizationSpecInput => ({
    model: 'demo',
    output: stack.output(`out/${id}/result`),
    recipe: { method: 'rtn', bits: 4, groupSize: 64 },
    evaluation: { text: 'demo', context: 64, maxTokens: 128 },
  });

  const progressOf = (job: WorkflowHandle) => job.query<Progress>(PROGRESS_QUERY);
  const order = (job: WorkflowHandle, update: string, argument?: unknown) =>
    argument === undefined
      ? job.executeUpdate<Progress, []>(update)
      : job.executeUpdate<Progress, [unknown]>(update, { args: [argument] });
  const refusal = async (job: WorkflowHandle, update: string, argument?: unknown) => {
    const error = await order(job, update, argument).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(WorkflowUpdateFailedError);
    return (error as WorkflowUpdateFailedError).cause?.message;
  };
  const child = (id: string) => stack.client.workflow.getHandle(id);
  const statusOf = async (job: WorkflowHandle) => (await job.describe()).status.name;

  const atFirstStage = async (spec: QuantizationSpecInput, id: string) => {
    const job = await stack.start(spec, id);
    await until(async () => (await activityEvents(child(`${id}/layer-0`))).activities.length === 2);
    return job;
  };
  const atEvaluation = async (spec: QuantizationSpecInput, id: string) => {
    const job = await stack.start(spec, id);
    await until(async () => (await activityEvents(job)).activities.some(({ type }) => type === 'evaluate'));
    return job;
  };
  const withGpu = async <T>(use: () => Promise<T>): Promise<T> => {
    const worker = await stack.startWorker('gpu');
    try {
      return await use();
    } finally {
      await end(worker);
    }
  };
  /** What lies where the output is to appear: the output, what is staged for it. */
  const besideOutput = async ({ output }: QuantizationSpecInput) =>
    existsSync(dirname(output)) ? readdir(dirname(output)) : [];

  it('pauses before the next step of a layer, and resumes', async () => {
    const job = await atFirstStage(calibrated('paused'), 'paused');
    expect(await refusal(job, UPDATES.resume)).toMatch(/not paused/);
    expect((await order(job, UPDATES.pause)).paused).toBe(true);
    expect(await refusal(job, UPDATES.pause)).toMatch(/paused already/);

    await withGpu(async () => {
      const layer = child('paused/layer-0');
      const stopped = await until(async () => {
        const { activities, idle } = await activityEvents(layer);
        return idle && activities.length === 2 && activities.every(({ completed }) => completed) && activities;
      });
      expect(stopped.map(({ type }) => type)).toEqual(['calibrateSlice', 'calibrateSlice']);
      expect(stopped.map(({ summary }) => summary)[1]).toBe('model.layers.0 · attention-input · slice 2 of 2');

      expect((await order(job, UPDATES.resume)).paused).toBe(false);
      await job.result();
    });
    expect((await verifyCheckpoint(stack.output('out/paused/result'))).passed).toBe(true);
  }, 300_000);

  describe.each([
    ['by Update', (job: WorkflowHandle) => order(job, UPDATES.cancel)],
    ["by Temporal's own request", (job: WorkflowHandle) => job.cancel()],
  ])('cancelling %s', (how, cancel) => {
    it('ends the layers, and the job as cancelled', async () => {
      const id = `cancelled layer ${how}`;
      const spec = calibrated(id);
      const job = await atFirstStage(spec, id);
      await cancel(job);
      await expect(job.result()).rejects.toThrow(/cancel/i);
      expect(await statusOf(job)).toBe('CANCELLED');
      expect(await statusOf(child(`${id}/layer-0`))).toBe('CANCELLED');
      expect((await progressOf(job)).phase).toBe('cancelled');
      expect(await besideOutput(spec)).toEqual([]);
    }, 60_000);

    it('removes what was assembled but not published', async () => {
      const id = `cancelled evaluation ${how}`;
      const spec = evaluated(id);
      const job = await atEvaluation(spec, id);
      expect(await besideOutput(spec)).toEqual([expect.stringMatching(/^\.result\.quantloom-[0-9a-f]{8}$/)]);
      await cancel(job);
      await expect(job.result()).rejects.toThrow(/cancel/i);
      expect(await statusOf(job)).toBe('CANCELLED');
      expect(await besideOutput(spec)).toEqual([]);
    }, 60_000);
  });

  it('asks for review when a layer fails for good, and goes on when it is tried again', async () => {
    const model = stack.output('moved-model');
    await cp(resolveModelDirectory('demo'), model, { recursive: true });
    const weights = join(model, 'model.safetensors');
    const job = await atFirstStage(calibrated('review', { model }), 'review');
    expect(await refusal(job, UPDATES.retryLayer)).toMatch(/no step of this job needs review/);
    expect(await refusal(job, UPDATES.skipLayer, { layer: 0 })).toMatch(/Layer 0 is running/);
    expect(await refusal(job, UPDATES.skipLayer, { layer: 9 })).toMatch(/no layer 9; the job has 4/);
    expect(await refusal(job, UPDATES.skipLayer, { layer: '1' })).toMatch(/must be \{"layer": 3\}/);
    expect(await refusal(job, UPDATES.setConcurrency, { layers: 4 })).toMatch(/side by side/);

    await rename(weights, `${weights}.away`);
    await withGpu(async () => {
      const needsReview = () => until(async () => (await progressOf(job)).needsReview);
      expect(await needsReview()).toMatchObject({ layer: 0, step: 'model.layers.0' });
      expect((await needsReview()).error).toMatch(/source model changed.*model\.safetensors cannot be read/s);
      expect(await refusal(job, UPDATES.retryLayer, { layer: 2 })).toMatch(/Layer 2 does not need review/);
      const found = await until(async () => {
        const query = `QuantloomNeedsReview = true AND QuantloomModel = '${basename(model)}'`;
        for await (const { workflowId } of stack.client.workflow.list({ query })) return workflowId;
        return null;
      });
      expect(found).toBe('review');
      const details = await job.query<{ currentDetails: string }>('__temporal_workflow_metadata');
      expect(details.currentDetails).toMatch(
        /Needs review.*\| layer \| state .*\| model\.layers\.0 \| needs-review \|/s,
      );

      await rename(`${weights}.away`, weights);
      expect((await order(job, UPDATES.retryLayer, { layer: 0 })).layers).toHaveLength(4);
      await job.result();
    });
    expect((await progressOf(job)).needsReview).toBeNull();
    expect((await verifyCheckpoint(stack.output('out/review/result'))).passed).toBe(true);
    const { searchAttributes } = await job.describe();
    expect(searchAttributes).toMatchObject({
      QuantloomModel: ['moved-model'],
      QuantloomScheme: ['gptq 4 bit g64'],
      QuantloomStage: ['done'],
      QuantloomLayersDone: [4],
      QuantloomNeedsReview: [false],
    });
  }, 300_000);

  it('keeps skipped layers in 16 bit: one that failed, and one that had not begun', async () => {
    const model = stack.output('skipped-model');
    const output = stack.output('out/skipped/result');
    await cp(resolveModelDirectory('demo'), model, { recursive: true });
    const weights = join(model, 'model.safetensors');
    const job = await atFirstStage(calibrated('skipped', { model }), 'skipped');
    expect(await refusal(job, UPDATES.skipLayer)).toMatch(/No layer needs review/);
    await order(job, UPDATES.skipLayer, { layer: 2 });
    await rename(weights, `${weights}.away`);
    await withGpu(async () => {
      await until(async () => (await progressOf(job)).needsReview);
      await rename(`${weights}.away`, weights);
      await order(job, UPDATES.skipLayer);
      await job.result();
    });
    const { layers } = await progressOf(job);
    expect(layers.map(({ state }) => state)).toEqual(['skipped', 'done', 'skipped', 'done']);
    expect((await verifyCheckpoint(output)).passed).toBe(true);
    const checkpoint = await openCheckpoint(output);
    const original = await openCheckpoint(model);
    for (const layer of [0, 2]) {
      const name = `model.layers.${layer}.mlp.up_proj.weight`;
      expect((await checkpoint.float(name)).data).toEqual((await original.float(name)).data);
    }
    const manifest = parseManifest(readFileSync(join(output, 'quantloom.json'), 'utf8'));
    expect(manifest.blocks.map(({ skipped }) => skipped)).toEqual([true, false, true, false]);
    const stored = storedLinears(checkpoint.config);
    const settings = [0, 1, 2, 3].map((layer) => stored?.settingsOf(`model.layers.${layer}.self_attn.q_proj`));
    expect(settings).toEqual([null, expect.objectContaining({ bits: 4 }), null, expect.objectContaining({ bits: 4 })]);
  }, 300_000);

  it('writes a skipped layer of a rotated model in the dtype of the source', async () => {
    const spec = calibrated('rotated', { rotation: 'hadamard' });
    const job = await atFirstStage(spec, 'rotated');
    await order(job, UPDATES.skipLayer, { layer: 2 });
    await withGpu(() => job.result());
    expect((await verifyCheckpoint(spec.output)).passed).toBe(true);
    const { tensors } = await readWeightFiles(spec.output);
    expect([...new Set([...tensors.values()].map(({ dtype }) => dtype))].sort()).toEqual(['BF16', 'F16', 'I32']);
    const name = 'model.layers.2.mlp.down_proj.weight';
    const [kept, original] = [await openCheckpoint(spec.output), await openCheckpoint(resolveModelDirectory('demo'))];
    const [turned, before] = [(await kept.float(name)).data, (await original.float(name)).data];
    const product = (a: Float32Array, b: Float32Array) =>
      a.reduce((sum, value, i) => sum + value * (b[i] as number), 0);
    expect(product(turned, turned) / product(before, before)).toBeCloseTo(1, 3);
    expect(Math.abs(product(turned, before) / product(before, before))).toBeLessThan(0.3);
  }, 300_000);

  it('changes how many layers are solved at once', async () => {
    const job = await stack.start(calibrated('wide', { order: 'independent', concurrency: 1 }), 'wide');
    await until(async () => (await activityEvents(child('wide/calibrate-0'))).activities.length === 2);
    for (const wrong of [{ layers: 0 }, { layers: 1.5 }, { layers: 201 }, {}, null]) {
      expect(await refusal(job, UPDATES.setConcurrency, wrong)).toMatch(/whole number from 1 to 200/);
    }
    expect((await order(job, UPDATES.setConcurrency, { layers: 3 })).phase).toBe('quantizing');
    await order(job, UPDATES.cancel);
    expect(await statusOf(job)).toBe('CANCELLED');
  }, 60_000);

  it('asks for review when somebody cancels a layer on its own', async () => {
    const job = await atFirstStage(calibrated('lone'), 'lone');
    await child('lone/layer-0').cancel();
    expect(await until(async () => (await progressOf(job)).needsReview)).toMatchObject({ layer: 0 });
    await order(job, UPDATES.cancel);
    expect((await job.describe()).searchAttributes.QuantloomNeedsReview).toEqual([false]);
  }, 60_000);

  it('starts again at once after it was terminated', async () => {
    const spec = calibrated('ended');
    const first = await atFirstStage(spec, 'ended');
    const [layer] = [await child('ended/layer-0').describe()];
    await first.terminate();
    const second = await stack.start(spec, 'ended');
    await until(async () => (await child('ended/layer-0').describe()).runId !== layer.runId);
    expect((await progressOf(second)).needsReview).toBeNull();
    await order(second, UPDATES.cancel);
    expect(await statusOf(second)).toBe('CANCELLED');
  }, 60_000);
});

async function end(worker: ChildProcess): Promise<void> {
  worker.stdin?.end();
  if (worker.exitCode === null) await once(worker, 'exit');
}
