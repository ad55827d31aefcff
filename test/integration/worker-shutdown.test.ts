import { once } from 'node:events';
import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import type { QuantizationSpecInput } from '../../engine/spec';
import { type JobStack, startJobStack } from '../support/job-stack';
import { startCli } from '../support/run-cli';
import { until } from '../support/until';

/** Number of temporal.api.enums.v1.PendingActivityState. */
const STARTED = 2;

describe('a worker that is to end', () => {
  let stack: JobStack;

  beforeAll(async () => {
    stack = await startJobStack({ workers: ['control', 'cpu'] });
  }, 60_000);

  afterAll(() => stack?.stop(), 60_000);

  /** One slice, so that an activity takes seconds where kernels are slow. */
  const specFor = (name: string, samples: number): QuantizationSpecInput => ({
    model: 'demo',
    output: stack.output(name),
    recipe: { bits: 4, groupSize: 64, refinements: 1 },
    calibration: { source: 'demo', samples, sequenceLength: 64, sliceTokens: 64 * samples },
  });

  const identityOf = (pid: number | undefined) => `gpu-cpu:${pid}@${hostname()}`;

  async function histories(job: string) {
    const found = [];
    for await (const { workflowId, runId } of stack.client.workflow.list()) {
      if (!workflowId.startsWith(job)) continue;
      found.push((await stack.client.workflow.getHandle(workflowId, runId).fetchHistory()).events ?? []);
    }
    return found;
  }

  /** Of the activities that a worker was the last to begin: whether each was completed. */
  async function completedBy(job: string, pid: number | undefined): Promise<boolean[]> {
    return (await histories(job)).flatMap((events) => {
      const begun = events.filter((event) => event.activityTaskStartedEventAttributes?.identity === identityOf(pid));
      return begun.map(({ eventId }) =>
        events.some(
          ({ activityTaskCompletedEventAttributes: done }) => done && String(done.startedEventId) === String(eventId),
        ),
      );
    });
  }

  /** Why attempts failed that others were made after. */
  async function failuresOf(job: string): Promise<(string | null | undefined)[]> {
    return (await histories(job)).flatMap((events) =>
      events.map((event) => event.activityTaskStartedEventAttributes?.lastFailure?.applicationFailureInfo?.type),
    );
  }

  /** What `/readyz` answers until nobody does. */
  async function readinessUntilGone(page: string): Promise<Set<number>> {
    const statuses = new Set<number>();
    for (;;) {
      const answer = await fetch(new URL('/readyz', page)).catch(() => null);
      if (!answer) return statuses;
      statuses.add(answer.status);
      await delay(20);
    }
  }

  /** Ends a worker while it runs an activity. Jobs differ, or the store would know the second one's results. */
  async function endMeanwhile(job: string, samples: number, environment: Record<string, string>) {
    const before = stack.log.length;
    const worker = await stack.startWorker('gpu', {
      ...{ QUANTLOOM_KERNELS: 'typescript', QUANTLOOM_METRICS_ADDRESS: '127.0.0.1:0' },
      ...environment,
    });
    const { page } = stack.log.slice(before).find(({ event }) => event === 'metrics') as unknown as { page: string };
    const handle = await stack.start(specFor(job, samples), job);
    await until(async () => {
      for await (const { workflowId, runId } of stack.client.workflow.list({ query: "ExecutionStatus = 'Running'" })) {
        const { raw } = await stack.client.workflow.getHandle(workflowId, runId).describe();
        const isRunning = raw.pendingActivities?.some(
          ({ state, lastWorkerIdentity }) => state === STARTED && lastWorkerIdentity === identityOf(worker.pid),
        );
        if (isRunning) return true;
      }
      return null;
    });
    const ended = once(worker, 'exit');
    worker.kill('SIGTERM');
    const readiness = await readinessUntilGone(page);
    const [code] = await ended;
    const next = await stack.startWorker('gpu');
    await handle.result();
    next.kill('SIGTERM');
    return { code, readiness, completed: await completedBy(job, worker.pid), failures: await failuresOf(job) };
  }

  it('finishes within the grace time what it has begun', async () => {
    const { code, readiness, completed, failures } = await endMeanwhile('graceful', 64, {
      QUANTLOOM_SHUTDOWN_GRACE: '300',
    });
    expect(code).toBe(0);
    expect(readiness).toContain(503);
    expect(completed.length).toBeGreaterThan(0);
    expect(completed).not.toContain(false);
    expect(failures.filter(Boolean)).toEqual([]);
  }, 180_000);

  it('gives up after it what is not finished, which others take over, and ends all the same', async () => {
    const { code, failures } = await endMeanwhile('hasty', 48, { QUANTLOOM_SHUTDOWN_GRACE: '0' });
    expect(code).toBe(0);
    expect(failures).toContain('WorkerShutdown');
    const cancelled = stack.log.filter((line) => line.event === 'activity' && 'outcome' in line);
    expect(cancelled.map((line) => (line as unknown as { outcome: string }).outcome)).toContain('cancelled');
  }, 180_000);

  it('for its memory is replaced by a fresh process, and the job gets done', async () => {
    const worker = startCli(['worker', '--queue', 'gpu', '--threads', '1', '--max-memory', '1MiB'], {
      home: stack.directory,
      workingDirectory: stack.directory,
      environment: { TEMPORAL_ADDRESS: stack.address, QUANTLOOM_STORE: stack.storeDirectory },
    });
    worker.stdout.resume();
    let said = '';
    worker.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    await stack.run(specFor('bounded', 2), 'bounded');
    const ended = once(worker, 'exit');
    worker.kill('SIGTERM');
    const [code] = await ended;
    expect(code).toBe(130);
    const pids = [...said.matchAll(/"pid":(\d+),"event":"memory-bound"/g)].map(([, pid]) => Number(pid));
    expect(new Set(pids).size).toBe(pids.length);
    expect(pids.length).toBeGreaterThan(2);
    expect(said).toContain(`worker process ${pids[0]} has reached its bound on memory; starting a fresh one`);
    // Every process got something done.
    for (const pid of pids) expect(said).toMatch(new RegExp(`"pid":${pid},"event":"activity"`));
  }, 180_000);
});
