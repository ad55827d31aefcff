import { Worker } from '@temporalio/worker';
import { createActivities, HEARTBEAT_MILLISECONDS } from '../activities';
import { preferKernels, selectKernels } from '../engine/kernels';
import { openStore, storeDirectoryOf } from '../engine/store';
import type { WorkerPlace } from './connect';
import type { ProcessMetrics } from './metrics';
import type { WorkerSettings } from './settings';
import { SHUTDOWN } from './shutdown';
import { logLine } from './worker-log';

/**
 * The workers of a process that computes: by task queue, how many activities each runs at a time. Activities of one process share its
 * threads, so that is few.
 */
export async function createTensorWorkers(
  activitiesAtOnce: Readonly<Record<string, number>>,
  settings: WorkerSettings,
  place: WorkerPlace,
  metrics: ProcessMetrics | null,
): Promise<Worker[]> {
  const plain = await openStore(settings.store, metrics?.soughtInCache);
  const store = metrics?.counted(plain) ?? plain;
  preferKernels(settings.kernels);
  const { name, why } = selectKernels();
  logLine('kernels', { name, ...(why && { why }) });
  const activities = createActivities({
    store,
    storeDirectory: storeDirectoryOf(settings.store),
    sources: settings.sources,
    threads: settings.threads,
    webhookSecret: settings.webhookSecret,
    log: (event, fields) => {
      logLine(event, fields);
      metrics?.observe(event, fields);
    },
  });
  const create = ([taskQueue, maxConcurrentActivityTaskExecutions]: [string, number]) =>
    Worker.create({
      ...place,
      taskQueue,
      activities,
      maxConcurrentActivityTaskExecutions,
      // Unset, it would be 80 % of the heartbeat timeout: one late heartbeat, and a living worker would be taken for dead.
      maxHeartbeatThrottleInterval: HEARTBEAT_MILLISECONDS,
      ...SHUTDOWN,
    });
  return Promise.all(Object.entries(activitiesAtOnce).map(create));
}
