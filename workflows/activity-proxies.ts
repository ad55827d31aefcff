import {
  ActivityFailure,
  type ActivityOptions,
  ApplicationFailure,
  proxyActivities,
  TimeoutFailure,
} from '@temporalio/workflow';
import type { Activities } from '../activities';
import { AHEAD_TASK_QUEUE, TASK_QUEUES, WORKER_LOST } from '../engine/spec/job';

/** A worker that dies while it runs an activity is not the activity's fault; one that dies this often is. */
const LOSSES_BEFORE_REVIEW = 20;

const OPTIONS: ActivityOptions = {
  // Only a worker that is gone stops heartbeating; how long honest work may take is not ours to say.
  startToCloseTimeout: '7 days',
  heartbeatTimeout: '10 seconds',
  retry: {
    initialInterval: '1 second',
    backoffCoefficient: 2,
    maximumInterval: '30 seconds',
    maximumAttempts: 4,
    nonRetryableErrorTypes: ['PayloadsTooLarge'],
  },
};

/** The activities as run by CPU workers; `summary` is what Temporal's UI shows for the call. */
export function onCpu(summary: string): Activities {
  return throughLosses(
    proxyActivities<Activities>({ ...OPTIONS, taskQueue: TASK_QUEUES.cpu, summary: brief(summary) }),
  );
}

/** The activities as run by the workers that have the devices for matrix products. */
export function onGpu(summary: string): Activities {
  return throughLosses(
    proxyActivities<Activities>({ ...OPTIONS, taskQueue: TASK_QUEUES.gpu, summary: brief(summary) }),
  );
}

/** Within this a worker that is there comes for what its queue holds: it is given no more than it can begin. */
const COMES_WITHIN = '30 seconds';

/** The same by one worker alone, the one that has at hand what is read; null: it has not come for it, or was lost with it. */
export function onGpuNear(queue: string, summary: string): OrNull<Pick<Activities, 'calibrateSlice'>> {
  const { calibrateSlice } = proxyActivities<Activities>({
    ...OPTIONS,
    taskQueue: queue,
    scheduleToStartTimeout: COMES_WITHIN,
    summary: brief(summary),
  });
  return {
    calibrateSlice: async (input) => {
      try {
        return await calibrateSlice(input);
      } catch (error) {
        if (isLoss(error)) return null;
        throw error;
      }
    },
  };
}

type OrNull<Functions> = {
  readonly [Name in keyof Functions]: Functions[Name] extends (input: infer Input) => Promise<infer Output>
    ? (input: Input) => Promise<Output | null>
    : never;
};

/** The same of work that nobody waits for yet. */
export function onGpuAhead(summary: string): Activities {
  return throughLosses(
    proxyActivities<Activities>({ ...OPTIONS, taskQueue: AHEAD_TASK_QUEUE, summary: brief(summary) }),
  );
}

/** The activities that talk to somebody who may be away for a while, and who holds nothing up for longer than this. */
export function toWebhook(summary: string): Pick<Activities, 'notify'> {
  return proxyActivities<Activities>({
    ...OPTIONS,
    taskQueue: TASK_QUEUES.cpu,
    summary: brief(summary),
    startToCloseTimeout: '1 minute',
    scheduleToCloseTimeout: '30 minutes',
    retry: { initialInterval: '1 second', backoffCoefficient: 2, maximumInterval: '5 minutes' },
  });
}

/** Temporal takes 200 bytes. */
function brief(summary: string): string {
  return summary.length <= 190 ? summary : `${summary.slice(0, 189)}…`;
}

function throughLosses(activities: object): Activities {
  return new Proxy(activities, {
    get(target, name) {
      const activity = Reflect.get(target, name) as (input: unknown) => Promise<unknown>;
      return async (input: unknown) => {
        for (let losses = 0; ; losses++) {
          try {
            return await activity(input);
          } catch (error) {
            if (!isLoss(error) || losses === LOSSES_BEFORE_REVIEW) throw error;
          }
        }
      };
    },
  }) as Activities;
}

/** By silence, because somebody saw the worker die, or because it was shut down (so the SDK calls that). */
function isLoss(error: unknown): boolean {
  if (!(error instanceof ActivityFailure)) return false;
  const { cause } = error;
  if (cause instanceof ApplicationFailure) return cause.type === WORKER_LOST || cause.type === 'WorkerShutdown';
  return cause instanceof TimeoutFailure;
}
