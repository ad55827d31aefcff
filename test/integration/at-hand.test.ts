import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { layerWorkflowId, PROGRESS_QUERY, type Progress, TASK_QUEUES } from '../../engine/spec';
import { buildEnvironment, makeCurrent } from '../support/builds';
import { demoSpec } from '../support/demo-spec';
import { type JobStack, startJobStack } from '../support/job-stack';
import { until } from '../support/until';
import { FIRST_START_MS, S3_CREDENTIALS, type S3Server, setS3Credentials, startS3Server } from '../support/versitygw';
import { weightDigests } from '../support/weight-files';

const SLICES = 10;
const LAYERS = 4;

let server: S3Server;
let inBucket: JobStack;
let inFiles: JobStack;

beforeAll(async () => {
  setS3Credentials();
  server = await startS3Server();
  const place = { QUANTLOOM_STORE: `s3://${server.bucket}/at-hand`, QUANTLOOM_S3_ENDPOINT: server.endpoint };
  const environment = { ...S3_CREDENTIALS, ...place, ...buildEnvironment('1.0.0') };
  inBucket = await startJobStack({ workers: ['control', 'cpu'], environment });
  inFiles = await startJobStack();
}, FIRST_START_MS);

afterAll(async () => {
  await inBucket?.stop();
  await inFiles?.stop();
  await server?.stop();
}, 120_000);

/** A worker of `gpu` on a machine of its own, as far as what it has at hand goes. */
function startMachine(name: string): Promise<ChildProcess> {
  const cache = join(inBucket.directory, `cache-${name}`);
  return inBucket.startWorker('gpu', { QUANTLOOM_CACHE: cache, QUANTLOOM_THREADS: '1' });
}

function spec(output: string) {
  return demoSpec(output, {
    calibration: { source: 'demo', samples: SLICES, sequenceLength: 64, sliceTokens: 64 },
  });
}

interface Passed {
  readonly slice: string;
  readonly queue: string;
  readonly pid: number;
}

/** The slices that went through the stages of a layer, in order, and how often nobody came, or came back, for one. */
async function historyOf(job: string, layer: number) {
  const { events } = await inBucket.client.workflow.getHandle(layerWorkflowId(job, layer)).fetchHistory();
  const passed: Passed[] = [];
  for (const { eventId, userMetadata, activityTaskScheduledEventAttributes: scheduled } of events ?? []) {
    if (scheduled?.activityType?.name !== 'calibrateSlice') continue;
    const started = events?.find(
      ({ activityTaskStartedEventAttributes: one }) => String(one?.scheduledEventId) === String(eventId),
    )?.activityTaskStartedEventAttributes;
    if (!started) continue;
    const [slice = ''] = /slice \d+/.exec(Buffer.from(userMetadata?.summary?.data ?? []).toString()) ?? [];
    const pid = Number(/:(\d+)@/.exec(started.identity ?? '')?.[1]);
    passed.push({ slice, pid, queue: scheduled.taskQueue?.name as string });
  }
  const lost = events?.filter((event) => event.activityTaskTimedOutEventAttributes).length ?? 0;
  return { passed, lost };
}

/** How many of the slices were passed by another worker than before. */
function moves(passed: readonly Passed[]): number {
  const last = new Map<string, number>();
  let moved = 0;
  for (const { slice, pid } of passed) {
    if (last.has(slice) && last.get(slice) !== pid) moved += 1;
    last.set(slice, pid);
  }
  return moved;
}

test('slices stay with the worker that has them at hand; who is lost is done without, and who comes takes part', async () => {
  const [one, other] = [await startMachine('one'), await startMachine('other')];
  // Of a build, which jobs are pinned to.
  await makeCurrent(inBucket, '1.0.0');
  const job = await inBucket.start(spec(inBucket.output('out')), 'at-hand');
  await until(async () => (await job.query<Progress>(PROGRESS_QUERY)).layersDone >= 2);
  other.kill('SIGKILL');
  const third = await startMachine('third');
  await job.result();
  await inFiles.run(spec(inFiles.output('out')), 'in-files');
  expect(await weightDigests(inBucket.output('out'))).toEqual(await weightDigests(inFiles.output('out')));

  const layers = await Promise.all(Array.from({ length: LAYERS }, (_, layer) => historyOf('at-hand', layer)));
  const before = layers.slice(0, 2).flatMap(({ passed }) => passed);
  expect(new Set(before.map(({ pid }) => pid))).toEqual(new Set([one.pid, other.pid]));
  const own = before.filter(({ queue }) => queue !== TASK_QUEUES.gpu);
  // The first stage knows of nobody, and of every other one a slice at a time is for whoever comes.
  expect(own.length).toBeGreaterThan(before.length / 2);
  expect(moves(before)).toBeLessThan(before.length / 3);
  // What a lane held, and once more where slices were left that it had passed before it was lost.
  const losses = layers.reduce((sum, { lost }) => sum + lost, 0);
  expect(losses).toBeGreaterThan(0);
  expect(losses).toBeLessThanOrEqual(6);
  const after = layers.slice(2).flatMap(({ passed }) => passed);
  expect(after.some(({ pid, queue }) => pid === third.pid && queue !== TASK_QUEUES.gpu)).toBe(true);
}, 300_000);
