import { Worker } from '@temporalio/worker';
import { createActivities, HEARTBEAT_MILLISECONDS } from '../activities';
import { preferKernels, selectKernels } from '../engine/kernels';
import { TASK_QUEUES } from '../engine/spec';
import { openFileStore } from '../engine/store';
import type { WorkerPlace } from './connect';
import type { WorkerSettings } from './settings';
import { SHUTDOWN } from './shutdown';
import { logLine } from './worker-log';

/** A worker that computes. Activities of one process share its threads, so only few run at a time. */
export async function createTensorWorker(
  queue: 'cpu' | 'gpu',
  activitiesAtOnce: number,
  settings: WorkerSettings,
  place: WorkerPlace,
): Promise<Worker> {
  const store = await openFileStore(settings.store);
  preferKernels(settings.kernels);
  const { name, why } = selectKernels();
  logLine('kernels', { name, ...(why && { why }) });
  return Worker.create({
    ...place,
    taskQueue: TASK_QUEUES[queue],
    activities: createActivities({ store, storeDirectory: settings.store, threads: settings.threads, log: logLine }),
    maxConcurrentActivityTaskExecutions: activitiesAtOnce,
    // Unset, it would be 80 % of the heartbeat timeout: one late heartbeat, and a living worker would be taken for dead.
    maxHeartbeatThrottleInterval: HEARTBEAT_MILLISECONDS,
    ...SHUTDOWN,
  });
}
