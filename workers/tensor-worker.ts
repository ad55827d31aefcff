import { type NativeConnection, Worker } from '@temporalio/worker';
import { createActivities } from '../activities';
import { TASK_QUEUES } from '../engine/spec';
import { openFileStore } from '../engine/store';
import type { WorkerSettings } from './settings';
import { SHUTDOWN } from './shutdown';
import { logLine } from './worker-log';

/** A worker that computes. Activities of one process share its threads, so only few run at a time. */
export async function createTensorWorker(
  queue: 'cpu' | 'gpu',
  activitiesAtOnce: number,
  settings: WorkerSettings,
  connection: NativeConnection,
  namespace: string,
): Promise<Worker> {
  const store = await openFileStore(settings.store);
  return Worker.create({
    connection,
    namespace,
    taskQueue: TASK_QUEUES[queue],
    activities: createActivities({ store, storeDirectory: settings.store, threads: settings.threads, log: logLine }),
    maxConcurrentActivityTaskExecutions: activitiesAtOnce,
    ...SHUTDOWN,
  });
}
