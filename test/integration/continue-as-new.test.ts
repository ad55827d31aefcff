import { WorkflowNotFoundError, WorkflowUpdateFailedError } from '@temporalio/client';
import { verifyCheckpoint } from '../../engine/checkpoints';
import { PROGRESS_QUERY, type Progress, type QuantizationSpecInput, UPDATES } from '../../engine/spec';
import { activityEvents } from '../support/activity-events';
import { type JobStack, startJobStack } from '../support/job-stack';
import { until } from '../support/until';
import { weightDigests } from '../support/weight-files';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

/** What a model with thousands of layers would bring about, with four: the server asks for a new history after few events. */
describe('a job whose history grows long', () => {
  let stack: JobStack;

  beforeAll(async () => {
    const limit = 'limit.historyCount.suggestContinueAsNew=60';
    stack = await startJobStack({ serverArguments: ['--dynamic-config-value', limit], workers: ['control', 'cpu'] });
  }, 60_000);

  afterAll(() => stack.stop(), 60_000);

  const spec = (name: string, order: 'stage' | 'independent'): QuantizationSpecInput => ({
    model: 'demo',
    output: stack.output(name),
    // Without a mismatch layers wait for nothing but themselves.
    recipe: { bits: 4, groupSize: 64, refinements: 0, scales: 'minmax', mismatch: 0 },
    calibration: { source: 'demo', samples: 8, sequenceLength: 32, sliceTokens: 32 },
    order,
    concurrency: 2,
  });
  const runsOf = async (id: string) => {
    const runs: string[] = [];
    for await (const { status } of stack.client.workflow.list({ query: `WorkflowId = '${id}'` }))
      runs.push(status.name);
    return runs;
  };

  it.each(['stage', 'independent'] as const)(
    'continues as new and gives the same bytes (order %s)',
    async (order) => {
      const id = `long-${order}`;
      const job = await stack.start(spec(id, order), id);
      // Nothing can go on without a worker for the first stage: the orders are given in the first run.
      const first = stack.client.workflow.getHandle(`${id}/${order === 'stage' ? 'layer' : 'calibrate'}-0`);
      await until(async () => (await activityEvents(first)).activities.length === 8);
      const current = stack.client.workflow.getHandle(id);
      await current.executeUpdate<Progress, [object]>(UPDATES.skipLayer, { args: [{ layer: 3 }] });
      const worker = await stack.startWorker('gpu');
      const pauses = await pauseAndResumeUntilDone(id);
      await job.result();
      worker.stdin?.end();

      expect(pauses).toBeGreaterThan(0);
      const runs = await until(async () => {
        const found = await runsOf(id);
        return found.includes('COMPLETED') && found;
      });
      expect(runs.filter((status) => status === 'CONTINUED_AS_NEW').length).toBeGreaterThan(0);

      const progress = await current.query<Progress>(PROGRESS_QUERY);
      expect(progress).toMatchObject({ phase: 'done', layersDone: 4, paused: false, needsReview: null });
      expect(progress.layers.map(({ state }) => state)).toEqual(['done', 'done', 'done', 'skipped']);
      // Fetching and tokenizing, a slice each, the layers and their packing, what no layer owns; publishing has none.
      const inLayers = progress.layers.reduce((sum, { computed, cached }) => sum + computed + cached, 0);
      const calibrating = order === 'independent' ? 4 * (4 * 8 + 4) : 0;
      expect(progress.computed + progress.cached).toBe(2 + 8 + calibrating + inLayers + 4 + 1);
      expect((await current.describe()).searchAttributes).toMatchObject({
        QuantloomModel: ['demo-model'],
        QuantloomLayersDone: [4],
        QuantloomStage: ['done'],
      });

      const direct = stack.output(`direct-${order}`);
      const overrides = [{ match: 'model.layers.3.*', skip: true }];
      await quantizeDirect({ ...spec(`direct-${order}`, order), overrides });
      expect((await verifyCheckpoint(stack.output(id))).passed).toBe(true);
      expect(await weightDigests(stack.output(id))).toEqual(await weightDigests(direct));
    },
    180_000,
  );

  it.each([
    ['the widths that were measured so far', { averageBits: 3.5 }, {}],
    ['the original model beside the quantized one', {}, { mismatch: 0.5 }],
  ])(
    'takes along %s',
    async (name, specified, recipe) => {
      const base = spec(name.replaceAll(' ', '-'), 'stage');
      const whole = { ...base, ...specified, recipe: { ...base.recipe, ...recipe } };
      const id = name.replaceAll(' ', '-');
      const worker = await stack.startWorker('gpu');
      await (await stack.start(whole, id)).result();
      worker.stdin?.end();
      const runs = await until(async () => {
        const found = await runsOf(id);
        return found.includes('COMPLETED') && found;
      });
      expect(runs.filter((status) => status === 'CONTINUED_AS_NEW').length).toBeGreaterThan(0);

      const direct = stack.output(`direct-${id}`);
      await quantizeDirect({ ...whole, output: direct });
      expect(await weightDigests(stack.output(id))).toEqual(await weightDigests(direct));
    },
    180_000,
  );

  /** Steers without rest, also while one run gives way to the next. @returns how many pauses there were; each did what it was to do. */
  async function pauseAndResumeUntilDone(id: string): Promise<number> {
    const job = stack.client.workflow.getHandle(id);
    for (let pauses = 0; ; pauses++) {
      try {
        expect((await job.executeUpdate<Progress, []>(UPDATES.pause)).paused).toBe(true);
        expect((await job.executeUpdate<Progress, []>(UPDATES.resume)).paused).toBe(false);
      } catch (error) {
        if (error instanceof WorkflowNotFoundError && (await job.describe()).status.name === 'COMPLETED') return pauses;
        if (error instanceof WorkflowUpdateFailedError) throw new Error(`refused: ${error.cause?.message}`);
        throw error;
      }
    }
  }
});
