import { setTimeout as delay } from 'node:timers/promises';
import { TASK_QUEUES } from '../../engine/spec';
import { demoSpec } from '../support/demo-spec';
import { type JobStack, startJobStack } from '../support/job-stack';
import { runCli } from '../support/run-cli';

let stack: JobStack;

beforeAll(async () => {
  // Priority and fairness hold within a partition of a queue: with the usual four, eight jobs are two or so in each.
  const dynamic = ['enableFairness=true', 'numTaskqueueReadPartitions=1', 'numTaskqueueWritePartitions=1'];
  const serverArguments = dynamic.flatMap((value) => ['--dynamic-config-value', `matching.${value}`]);
  stack = await startJobStack({ serverArguments, workers: ['control'] });
}, 120_000);

afterAll(() => stack?.stop(), 60_000);

/** Starts a job by the program, as users do: one that needs no calibration. */
async function start(name: string, ...share: string[]): Promise<string> {
  const place = {
    home: stack.directory,
    workingDirectory: stack.directory,
    environment: { TEMPORAL_ADDRESS: stack.address },
  };
  const words = ['quantize', 'demo', '--out', name, '--method', 'rtn', '--detach', '--json', ...share];
  const { stdout, stderr, code } = await runCli(words, place);
  if (code !== 0) throw new Error(stderr);
  const { id } = JSON.parse(stdout) as { id: string };
  await untilWaiting(id);
  return id;
}

/** Until the first activity of a job waits for a worker. */
async function untilWaiting(id: string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const { raw } = await stack.client.workflow.getHandle(id).describe();
    if (raw.pendingActivities?.length) return;
    await delay(50);
  }
  throw new Error(`${id} asks for no activity`);
}

/** Jobs in the order in which a worker took their first activity. */
async function order(ids: readonly string[]): Promise<string[]> {
  const began = await Promise.all(
    ids.map(async (id) => {
      for (let attempt = 0; attempt < 600; attempt++) {
        const { events } = await stack.client.workflow.getHandle(id).fetchHistory();
        const started = events?.find((event) => event.activityTaskStartedEventAttributes);
        if (started) return { id, at: Number(started.eventTime?.seconds) + Number(started.eventTime?.nanos) / 1e9 };
        await delay(100);
      }
      throw new Error(`${id} was never begun`);
    }),
  );
  return began.sort((a, b) => a.at - b.at).map(({ id }) => id);
}

test('an interactive job overtakes nightly ones, and a small team is not behind all of a large one', async () => {
  const nightly: string[] = [];
  for (let job = 0; job < 6; job++)
    nightly.push(await start(`nightly-${job}`, '--priority', '5', '--fairness-key', 'many'));
  const few = await start('few', '--priority', '5', '--fairness-key', 'few');
  const interactive = await start('interactive', '--priority', '1');

  await stack.startWorker('cpu');
  const taken = await order([...nightly, few, interactive]);
  // Two are taken at a time.
  expect(taken.indexOf(interactive)).toBeLessThan(2);
  expect(taken.indexOf(few)).toBeLessThan(5);
  await Promise.all([...nightly, few, interactive].map((id) => stack.client.workflow.getHandle(id).result()));
}, 240_000);

test('layers inherit the priority of their job', async () => {
  await stack.startWorker('gpu');
  const job = await stack.client.workflow.start('quantizeModel', {
    ...{ taskQueue: TASK_QUEUES.control, workflowId: 'inherits', args: [demoSpec(stack.output('inherits'))] },
    priority: { priorityKey: 2, fairnessKey: 'team', fairnessWeight: 3 },
  });
  await job.result();
  const { events } = await stack.client.workflow.getHandle('inherits/layer-0').fetchHistory();
  expect(events?.[0]?.workflowExecutionStartedEventAttributes?.priority).toMatchObject({
    ...{ priorityKey: 2, fairnessKey: 'team', fairnessWeight: 3 },
  });
}, 120_000);

test.each([
  [['--priority', '6'], /--priority.*whole number from 1 \(first\) to 5/],
  [['--fairness-key', 'x'.repeat(65)], /--fairness-key.*1 to 64 bytes/],
  [['--fairness-weight', '0'], /--fairness-weight.*from 0\.001 to 1000/],
])('%p is refused', async (flags, message) => {
  const place = {
    home: stack.directory,
    workingDirectory: stack.directory,
    environment: { TEMPORAL_ADDRESS: stack.address },
  };
  const { code, stderr } = await runCli(['quantize', 'demo', '--out', 'never', ...flags], place);
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(message) });
});
