import { cp, readdir, readFile, readlink, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseSafetensors, serializeSafetensors } from '../../engine/checkpoints';
import { resolveModelDirectory } from '../../engine/sources';
import type { RequantizeResult } from '../../engine/spec';
import { activityEvents } from '../support/activity-events';
import { type JobStack, startJobStack } from '../support/job-stack';
import { runCli } from '../support/run-cli';
import { until } from '../support/until';

let stack: JobStack;
let model: string;
let releases: string;

beforeAll(async () => {
  stack = await startJobStack();
  model = stack.output('model');
  releases = stack.output('releases');
  await cp(resolveModelDirectory('demo'), model, { recursive: true });
}, 120_000);

afterAll(() => stack?.stop(), 60_000);

const RECIPE = [
  '--method',
  'rtn',
  '--group-size',
  '64',
  '--evaluate',
  'demo',
  '--context',
  '64',
  '--max-tokens',
  '512',
];
const NIGHTLY = ['--cron', '0 2 * * *', ...RECIPE];

function quantloom(...words: string[]) {
  const environment = { TEMPORAL_ADDRESS: stack.address };
  return runCli(['schedule', ...words], { home: stack.directory, workingDirectory: stack.directory, environment });
}

async function answer<T>(...words: string[]): Promise<T> {
  const { code, stdout, stderr } = await quantloom(...words, '--json');
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as T;
}

interface Described {
  readonly [field: string]: unknown;
  readonly runs: readonly {
    readonly id: string;
    readonly state: string;
    readonly outcome: string;
    readonly reason: string;
  }[];
}

/** Runs that have ended, newest first, once there are so many. */
function runs(name: string, count: number) {
  return until(async () => {
    const { runs } = await answer<Described>('describe', name);
    return runs.length === count && runs.every(({ state }) => state !== 'running') && runs;
  });
}

/** Fires the schedule and waits for the run. @returns what it says of itself, and what it did. */
async function fire(name: string, count: number) {
  await answer('trigger', name);
  const [run] = await runs(name, count);
  if (!run) throw new Error('no run');
  const handle = stack.client.workflow.getHandle(run.id);
  const result = (await handle.result()) as RequantizeResult;
  const activities = (await activityEvents(handle)).activities.map(({ type }) => type);
  const jobs = ((await handle.fetchHistory()).events ?? []).filter(
    (event) => event.startChildWorkflowExecutionInitiatedEventAttributes,
  ).length;
  return { run, result, activities, jobs };
}

/** Multiplies the values of one tensor of the model by a factor; written beside and renamed, as downloads are. */
async function scaleTensor(name: string, factor: number): Promise<void> {
  const file = join(model, 'model.safetensors');
  const { tensors, metadata } = parseSafetensors(await readFile(file));
  const tensor = tensors.get(name);
  if (tensor?.dtype !== 'BF16') throw new Error(`${name} is ${tensor?.dtype}`);
  const { buffer, byteOffset, byteLength } = Uint8Array.from(tensor.data);
  const upper = new Uint16Array(buffer, byteOffset, byteLength / 2);
  const float = new Float32Array(1);
  const bits = new Uint32Array(float.buffer);
  for (let index = 0; index < upper.length; index++) {
    bits[0] = (upper[index] as number) << 16;
    float[0] = (float[0] as number) * factor;
    upper[index] = (bits[0] as number) >>> 16;
  }
  tensors.set(name, { ...tensor, data: new Uint8Array(upper.buffer) });
  await writeFile(`${file}.new`, serializeSafetensors(tensors, metadata));
  await rename(`${file}.new`, file);
}

async function manifestOf(release: string) {
  return JSON.parse(await readFile(join(releases, release, 'quantloom.json'), 'utf8'));
}

test('a nightly schedule does nothing when nothing has changed, promotes what is as good, and keeps the old when the new is worse', async () => {
  await answer('create', 'nightly', model, '--out', releases, ...NIGHTLY);

  const first = await fire('nightly', 1);
  expect(first.result).toMatchObject({
    outcome: 'promoted',
    reason: 'the first result',
    current: first.result.candidate,
  });
  expect(first.jobs).toBe(1);
  expect(await readlink(join(releases, 'current'))).toBe(first.result.candidate);
  expect((await manifestOf('current')).run.job).toBe(`${first.run.id}/quantize`);

  const job = await stack.client.workflow.getHandle(`${first.run.id}/quantize`).describe();
  expect(job.priority).toMatchObject({ priorityKey: 5 });

  const second = await fire('nightly', 2);
  expect(second.result).toMatchObject({ outcome: 'unchanged', current: first.result.candidate, candidate: null });
  // Nothing was quantized: one look at the source, and no job.
  expect({ activities: second.activities, jobs: second.jobs }).toEqual({ activities: ['resolveSource'], jobs: 0 });
  expect(second.run).toMatchObject({ outcome: 'unchanged', reason: expect.stringContaining('those of') });

  await scaleTensor('model.layers.0.input_layernorm.weight', 1.01);
  const third = await fire('nightly', 3);
  expect(third.result).toMatchObject({ outcome: 'promoted', current: third.result.candidate });
  expect(third.result.revision).not.toBe(first.result.revision);
  expect(await readlink(join(releases, 'current'))).toBe(third.result.candidate);

  await scaleTensor('model.norm.weight', 3);
  const fourth = await fire('nightly', 4);
  expect(fourth.result).toMatchObject({ outcome: 'kept', current: third.result.candidate });
  const [worse, good] = await Promise.all(
    [fourth.result.candidate, third.result.candidate].map((name) => manifestOf(name as string)),
  );
  expect(worse.perplexity.quantized).toBeGreaterThan(good.perplexity.quantized * 1.005);
  expect(fourth.result.reason).toContain(
    `perplexity ${worse.perplexity.quantized.toFixed(3)} after ${good.perplexity.quantized.toFixed(3)}`,
  );
  expect(await readlink(join(releases, 'current'))).toBe(third.result.candidate);

  // What was judged once is not made again.
  const fifth = await fire('nightly', 5);
  expect(fifth.result).toMatchObject({ outcome: 'unchanged', current: third.result.candidate });
  expect(fifth.result.reason).toContain(`those of ${fourth.result.candidate}, which was not promoted`);
  expect(fifth.jobs).toBe(0);

  const { schedules } = await answer<{ schedules: object[] }>('list');
  expect(schedules).toMatchObject([{ name: 'nightly', model, releases, last: { outcome: 'unchanged' } }]);
  const left = (await readdir(releases)).sort();
  const names = [first, third, fourth].map(({ result }) => result.candidate as string);
  expect(left).toEqual(['current', 'releases.json', ...names].sort());
}, 280_000);

test('a run that fails pauses the schedule where that was asked for', async () => {
  const nowhere = stack.output('nowhere');
  await answer('create', 'failing', nowhere, '--out', stack.output('never'), '--pause-on-failure', ...NIGHTLY);
  await answer('trigger', 'failing');
  const [run] = await runs('failing', 1);
  expect(run).toMatchObject({ state: 'failed', outcome: null });
  await until(async () => (await answer<Described>('describe', 'failing')).paused);
  const failure = await stack.client.workflow
    .getHandle(run?.id as string)
    .result()
    .catch((error) => error.cause.message);
  expect(failure).toContain(`The model ${nowhere} cannot be read`);
});

test('overlap, catch-up, jitter, pause on failure, time zone and priority are told to the server', async () => {
  const policy = ['--overlap', 'buffer-one', '--catch-up', '6h', '--jitter', '10m', '--pause-on-failure'];
  const rule = ['--max-perplexity-rise', '1%', '--max-size-rise', '0'];
  const notify = ['--notify', 'https://hooks.example.org/services/T0'];
  const words = [...NIGHTLY, ...policy, ...rule, ...notify, '--time-zone', 'Europe/Berlin', '--fairness-key', 'nights'];
  await answer('create', 'explicit', model, '--out', stack.output('explicit'), ...words);

  const described = await stack.client.schedule.getHandle('explicit').describe();
  expect(described.policies).toEqual({ overlap: 'BUFFER_ONE', catchupWindow: 6 * 3600_000, pauseOnFailure: true });
  expect(described.spec).toMatchObject({ jitter: 600_000, timezone: 'Europe/Berlin' });
  expect(described.action.priority).toMatchObject({ priorityKey: 5, fairnessKey: 'nights' });
  expect(await answer('describe', 'explicit')).toMatchObject({
    ...{
      cron: '0 2 * * *',
      timeZone: 'Europe/Berlin',
      jitterSeconds: 600,
      overlap: 'buffer-one',
      catchUpSeconds: 21_600,
    },
    ...{
      pauseOnFailure: true,
      paused: false,
      request: { webhook: 'https://hooks.example.org/services/T0', rule: { maxPerplexityRise: 0.01, maxSizeRise: 0 } },
    },
  });

  await answer('pause', 'explicit', '--note', 'holidays');
  expect(await answer('describe', 'explicit')).toMatchObject({ paused: true, note: 'holidays' });
  await answer('resume', 'explicit');
  expect(await answer('describe', 'explicit')).toMatchObject({ paused: false });
  await answer('delete', 'explicit');
  const { code, stderr } = await quantloom('describe', 'explicit');
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('There is no schedule "explicit"') });
});

test('nights that have passed are made up for, one after another', async () => {
  await answer('create', 'past', model, '--out', releases, ...NIGHTLY);
  await answer('backfill', 'past', '--from', '2026-11-01T00:00:00Z', '--to', '2026-11-02T23:00:00Z');
  const made = await runs('past', 2);
  expect(made.map(({ outcome }) => outcome)).toEqual(['unchanged', 'unchanged']);
  expect(made.map(({ id }) => id).sort()).toEqual([
    'requantize-past-2026-11-01T02:00:00Z',
    'requantize-past-2026-11-02T02:00:00Z',
  ]);
});

test.each([
  [['--cron', 'at night', ...RECIPE], /refuses the schedule/],
  [[...NIGHTLY, '--time-zone', 'Mars/Olympus'], /refuses the schedule.*Mars\/Olympus/],
  [['--cron', '0 2 * * *', '--method', 'rtn'], /name a text with --evaluate/],
  [[...NIGHTLY, '--max-perplexity-rise', '0.5'], /--max-perplexity-rise.*percentage such as 0\.5%/],
  [[...NIGHTLY, '--overlap', 'sometimes'], /--overlap.*skip, buffer-one/],
  [[...NIGHTLY, '--notify', 'ftp://example.org'], /--notify.*http or https/],
  [[...NIGHTLY, '--overwrite'], /a schedule replaces nothing/],
  [[...NIGHTLY, '--out', 's3://bucket/nightly'], /--out s3:\/\/bucket\/nightly: .* Give a directory/],
])('%p is refused', async (flags, message) => {
  const { code, stderr } = await quantloom('create', 'refused', model, '--out', stack.output('refused'), ...flags);
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(message) });
});
