import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { WORKER_LOST } from '../engine/spec';
import { identify } from './process-identity';

export interface LostWorkerWatch {
  /** Something has ended: looks for lost activities for a while. */
  alert(): void;
  stop(): Promise<void>;
}

const POLL_MS = 500;
/** As long as a worker may take to end after its parent, and a server to come back. */
const ALERT_MS = 30_000;
const CALL_LIMIT_MS = 2_000;
/** Number of temporal.api.enums.v1.PendingActivityState. */
const STARTED = 2;

/**
 * Has the activities of killed workers tried again at once; Temporal by itself would wait for their heartbeat timeout. Only for a
 * server of our own: its workers run on this machine, and their processes can be looked at.
 */
export function watchForLostWorkers(address: string): LostWorkerWatch {
  const stopping = new AbortController();
  const connection = Connection.lazy({ address });
  const client = new Client({ connection });
  let alertUntil = Date.now() + ALERT_MS;
  const watch = async () => {
    while (!stopping.signal.aborted) {
      if (Date.now() < alertUntil) {
        // A server that is being started again is asked again.
        await connection
          .withDeadline(Date.now() + CALL_LIMIT_MS, () => failLostActivities(client))
          .catch(() => undefined);
      }
      await delay(POLL_MS, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  };
  const watching = watch();
  return {
    alert() {
      alertUntil = Date.now() + ALERT_MS;
    },
    async stop() {
      stopping.abort();
      await watching;
    },
  };
}

async function failLostActivities(client: Client): Promise<void> {
  for await (const { workflowId, runId } of client.workflow.list({ query: "ExecutionStatus = 'Running'" })) {
    const { raw } = await client.workflow.getHandle(workflowId, runId).describe();
    for (const { activityId, state, lastWorkerIdentity } of raw.pendingActivities ?? []) {
      if (state !== STARTED || !activityId || !isGone(lastWorkerIdentity ?? '')) continue;
      const message = `The process of ${lastWorkerIdentity} ended while it ran the activity`;
      await client.activity.fail(
        { workflowId, runId, activityId },
        // Counted by the workflow, not as an attempt: it is not the activity's fault.
        ApplicationFailure.nonRetryable(message, WORKER_LOST),
      );
    }
  }
}

/** By the identity `NAME:PID@HOST` of the stack's own workers. A pid that is in use again passes for running; heartbeats tell later. */
function isGone(identity: string): boolean {
  const [, pid, host] = /^worker-[^:]+:(\d+)@(.*)$/.exec(identity) ?? [];
  return pid !== undefined && host === hostname() && identify(Number(pid)) === null;
}
