import { Worker } from '@temporalio/worker';
import { type ActivityRuntime, createActivities, HEARTBEAT_MILLISECONDS } from '../activities';
import type { Device } from '../engine/devices';
import { preferKernels, selectKernels } from '../engine/kernels';
import { openStore, storeDirectoryOf } from '../engine/store';
import type { WorkerPlace } from './connect';
import type { ProcessMetrics } from './metrics';
import type { WorkerSettings } from './settings';
import { shutdownTimes } from './shutdown';
import type { Traces } from './traces';
import { logLine } from './worker-log';

/** What the workers of a process that computes have in common. */
export interface TensorProcess {
  readonly settings: WorkerSettings;
  readonly place: WorkerPlace;
  readonly metrics: ProcessMetrics | null;
  readonly traces: Traces | null;
  readonly device: Device;
  /** That it was given when it was started. */
  readonly name?: string | undefined;
  /** Called when an activity has ended, however it did. */
  readonly activityEnded: () => void;
}

/**
 * The workers of a process that computes: by task queue, how many activities each runs at a time. Activities of one process share its
 * threads, so that is few.
 */
export async function createTensorWorkers(
  activitiesAtOnce: Readonly<Record<string, number>>,
  {
    settings,
    place,
    metrics,
    traces,
    device,
    activityEnded,
    ownQueue,
    turns,
  }: TensorProcess & Pick<ActivityRuntime, 'ownQueue' | 'turns'>,
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
    device,
    webhookSecret: settings.webhookSecret,
    ownQueue,
    ...(turns && { turns }),
    log: (event, fields) => {
      logLine(event, fields);
      metrics?.observe(event, fields);
      if (event === 'activity') activityEnded();
    },
  });
  const create = ([taskQueue, maxConcurrentActivityTaskExecutions]: [string, number]) =>
    Worker.create({
      ...(taskQueue === ownQueue ? ofNoVersion(place) : place),
      taskQueue,
      activities,
      ...(traces && { interceptors: { activity: [traces.activity] } }),
      maxConcurrentActivityTaskExecutions,
      // Unset, it would be 80 % of the heartbeat timeout: one late heartbeat, and a living worker would be taken for dead.
      maxHeartbeatThrottleInterval: HEARTBEAT_MILLISECONDS,
      ...shutdownTimes(settings.shutdownGraceSeconds),
    });
  return Promise.all(Object.entries(activitiesAtOnce).map(create));
}

/** A deployment knows a hundred queues at most; what is in one worker's own comes from jobs of its version anyway. */
function ofNoVersion({ workerDeploymentOptions, ...place }: WorkerPlace): WorkerPlace {
  return place;
}
