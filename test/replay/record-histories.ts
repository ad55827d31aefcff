/**
 * Writes the histories that the replay tests run: of jobs of every order, steered ones, and of the layers' workflows.
 *
 *     node scripts/setup.mjs && node -r ./test/run-typescript.cjs test/replay/record-histories.ts [name …]
 *
 * A change of the workflows that makes a committed history fail to replay would break jobs that are running while Quantloom is
 * upgraded: keep the old way behind `patched`, and record another history for the new way. Record over an old
 * one only when no such job can exist.
 */
import { once } from 'node:events';
import { cp, rename, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import type { WorkflowHandle } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils';
import { resolveModelDirectory } from '../../engine/sources';
import {
  PROGRESS_QUERY,
  type Progress,
  type QuantizationSpecInput,
  TASK_QUEUES,
  UPDATES,
  WORKFLOWS,
} from '../../engine/spec';
import globalSetup from '../global-setup';
import { activityEvents } from '../support/activity-events';
import { type JobStack, startJobStack } from '../support/job-stack';
import { until } from '../support/until';
import { WebhookReceiver } from '../support/webhook-receiver';

type Scenario = (stack: JobStack, name: string) => Promise<string[]>;

/** One slice: as small as a history gets. Seeds of their own, so that no job finds its work done by another. */
const oneSlice = (seed: number) => ({ source: 'demo', samples: 2, sequenceLength: 32, sliceTokens: 64, seed });
const RTN = { method: 'rtn', bits: 4, groupSize: 64 } as const;

function spec(stack: JobStack, name: string, changes: Partial<QuantizationSpecInput> = {}): QuantizationSpecInput {
  return {
    model: 'demo',
    output: stack.output(name),
    recipe: { bits: 4, groupSize: 64, refinements: 0, scales: 'minmax' },
    calibration: { source: 'demo', samples: 2, sequenceLength: 32, sliceTokens: 32 },
    ...changes,
  };
}

/** A job that nobody disturbs. @returns the ids of the workflows to keep. */
function undisturbed(changes: Partial<QuantizationSpecInput>, children: readonly string[]): Scenario {
  return async (stack, name) => {
    const gpu = await stack.startWorker('gpu');
    await stack.run(spec(stack, name, changes), name);
    gpu.stdin?.end();
    await once(gpu, 'exit');
    return [name, ...children.map((child) => `${name}/${child}`)];
  };
}

const order = (job: WorkflowHandle, update: string, argument: object = {}) =>
  job.executeUpdate<Progress, [object]>(update, { args: [argument] });

/** Paused, resumed, failed, tried again, with a layer skipped. */
const steered: Scenario = async (stack, name) => {
  const model = stack.output('model');
  await cp(resolveModelDirectory('demo'), model, { recursive: true });
  const weights = join(model, 'model.safetensors');
  // Without the original beside it, the layer begins while nobody works on it.
  const { recipe } = spec(stack, name);
  const alone = { model, calibration: oneSlice(1), recipe: { ...recipe, mismatch: 0 } };
  const job = await stack.start(spec(stack, name, alone), name);
  const layer = stack.client.workflow.getHandle(`${name}/layer-0`);
  await until(async () => (await activityEvents(layer)).activities.length === 1);
  await order(job, UPDATES.pause);
  await order(job, UPDATES.skipLayer, { layer: 2 });
  await order(job, UPDATES.resume);
  await rename(weights, `${weights}.away`);
  const gpu = await stack.startWorker('gpu');
  await until(async () => (await job.query<Progress>(PROGRESS_QUERY)).needsReview);
  const failed = await layer.describe();
  await rename(`${weights}.away`, weights);
  await order(job, UPDATES.retryLayer);
  await job.result();
  gpu.stdin?.end();
  await once(gpu, 'exit');
  return [name, `${name}/layer-0`, `${name}/layer-0#${failed.runId}`, `${name}/layer-2`];
};

/** Cancelled while its result waits to be evaluated. */
const cancelled: Scenario = async (stack, name) => {
  const evaluation = { text: 'demo', context: 64, maxTokens: 128 };
  const job = await stack.start(spec(stack, name, { recipe: RTN, evaluation }), name);
  await until(async () => (await activityEvents(job)).activities.some(({ type }) => type === 'evaluate'));
  await order(job, UPDATES.cancel);
  return [name, `${name}/cancel`];
};

/** Found changed, and told; then unchanged. */
const requantized: Scenario = async (stack, name) => {
  const gpu = await stack.startWorker('gpu');
  const receiver = await WebhookReceiver.start();
  const evaluation = { text: 'demo', context: 64, maxTokens: 128 };
  const request = {
    spec: spec(stack, name, { recipe: RTN, evaluation }),
    rule: { maxPerplexityRise: 0.01, maxSizeRise: null },
    webhook: receiver.address,
  };
  const ids = [name, `${name}-again`];
  for (const workflowId of ids) {
    const taskQueue = TASK_QUEUES.control;
    await stack.client.workflow.execute(WORKFLOWS.requantizeModel, { workflowId, taskQueue, args: [request] });
  }
  await receiver.close();
  gpu.stdin?.end();
  await once(gpu, 'exit');
  return ids;
};

const SCENARIOS: Record<string, Scenario> = {
  stage: undisturbed({}, ['layer-0', 'original-1']),
  layer: undisturbed({ order: 'layer', calibration: oneSlice(2) }, ['layer-1']),
  independent: undisturbed({ order: 'independent', concurrency: 2, calibration: oneSlice(3) }, [
    'calibrate-0',
    'layer-0',
  ]),
  nearest: undisturbed({ recipe: RTN, evaluation: { text: 'demo', context: 64, maxTokens: 128 } }, ['layer-3']),
  imatrix: undisturbed({ importanceOnly: true, calibration: oneSlice(4) }, []),
  steered,
  cancelled,
  requantized,
};

/** Jobs that continue as new after 40 events: each run is a history. */
const long: Scenario = async (stack, name) => {
  const gpu = await stack.startWorker('gpu');
  const job = await stack.start(spec(stack, name, { calibration: oneSlice(4) }), name);
  await job.result();
  gpu.stdin?.end();
  await once(gpu, 'exit');
  return [`${name}#${job.firstExecutionRunId}`, name];
};

async function record(stack: JobStack, name: string, scenario: Scenario): Promise<void> {
  for (const id of await scenario(stack, name)) {
    const [workflowId = '', runId] = id.split('#');
    const history = await stack.client.workflow.getHandle(workflowId, runId).fetchHistory();
    const file = join(__dirname, '../histories', `${workflowId.replace('/', '-')}${runId ? '-first' : ''}.json`);
    const text = JSON.stringify(withoutMachine(JSON.parse(historyToJSON(history)), stack.directory));
    await writeFile(file, `${text}\n`);
    console.error(`${file}: ${history.events?.length} events, ${text.length} bytes`);
  }
}

/** Takes out of a history where it was recorded: replaying needs none of it. */
function withoutMachine(value: unknown, directory: string): unknown {
  const clean = (text: string) =>
    text
      .replaceAll(directory, '/job')
      .replaceAll(resolve(__dirname, '../..'), '/quantloom')
      .replaceAll(hostname(), 'host');
  return JSON.parse(JSON.stringify(value), (key, part: unknown) => {
    if (key === 'stackTrace') return undefined;
    if (typeof part !== 'string') return part;
    if (key === 'data') return Buffer.from(clean(Buffer.from(part, 'base64').toString('utf8'))).toString('base64');
    return key === 'identity' ? 'worker' : clean(part);
  });
}

async function main(): Promise<void> {
  await globalSetup();
  const wanted = process.argv.slice(2);
  const isWanted = (name: string) => wanted.length === 0 || wanted.includes(name);
  const stack = await startJobStack({ workers: ['control', 'cpu'] });
  try {
    for (const [name, scenario] of Object.entries(SCENARIOS)) if (isWanted(name)) await record(stack, name, scenario);
  } finally {
    await stack.stop();
  }
  if (!isWanted('long')) return;
  const limit = ['--dynamic-config-value', 'limit.historyCount.suggestContinueAsNew=40'];
  const impatient = await startJobStack({ serverArguments: limit, workers: ['control', 'cpu'] });
  try {
    await record(impatient, 'long', long);
  } finally {
    await impatient.stop();
  }
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
