import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { readStackPorts, STACK_HOST } from '../../cli/stack-addresses';
import { ProgramJob } from '../support/program-job';
import { until } from '../support/until';

/** Number of temporal.api.enums.v1.PendingActivityState. */
const STARTED = 2;

describe('a worker that is killed while it runs an activity', () => {
  const job = new ProgramJob();

  afterAll(() => job.remove(), 60_000);

  it('is noticed by the embedded stack, without waiting for its heartbeats', async () => {
    const program = job.start();
    await job.untilComputed(12, program);
    const ports = readStackPorts(join(job.home, 'stack.json'));
    const connection = await Connection.connect({ address: `${STACK_HOST}:${ports?.port}` });
    const client = new Client({ connection });
    const [worker] = job.processes(program, 'cpu');
    const pid = worker?.pid as number;
    // Stopped, it takes an activity and does nothing with it.
    process.kill(pid, 'SIGSTOP');
    const held = await until(async () => {
      for await (const { workflowId, runId } of client.workflow.list({ query: "ExecutionStatus = 'Running'" })) {
        const { raw } = await client.workflow.getHandle(workflowId, runId).describe();
        const activity = raw.pendingActivities?.find(
          ({ state, lastWorkerIdentity }) =>
            state === STARTED && lastWorkerIdentity?.startsWith(`worker-cpu-1:${pid}@`),
        );
        if (activity) return { workflowId, runId, activityId: activity.activityId };
      }
      return null;
    });
    process.kill(pid, 'SIGKILL');
    const ending = await until(async () => {
      const { events } = await client.workflow.getHandle(held.workflowId, held.runId).fetchHistory();
      const scheduled = events?.find(
        ({ activityTaskScheduledEventAttributes: activity }) => activity?.activityId === held.activityId,
      );
      return events?.find(({ activityTaskFailedEventAttributes: failed, activityTaskTimedOutEventAttributes: late }) =>
        [failed, late].some((end) => end && String(end.scheduledEventId) === String(scheduled?.eventId)),
      );
    });
    expect(ending.activityTaskFailedEventAttributes?.failure?.applicationFailureInfo?.type).toBe('WorkerLost');
    await connection.close();
    expect((await program.ended).code).toBe(0);
  }, 300_000);
});
