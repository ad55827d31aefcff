import { join } from 'node:path';
import { Worker } from '@temporalio/worker';
import { packageRoot } from '../engine/sources';
import { TASK_QUEUES } from '../engine/spec';
import type { WorkerPlace } from './connect';
import { ensureSearchAttributes } from './search-attributes';
import type { WorkerSettings } from './settings';
import { shutdownTimes } from './shutdown';
import type { Traces } from './traces';

/** Runs workflows and nothing else, so that no tensor work ever starves them. */
export async function createControlWorker(
  { shutdownGraceSeconds }: WorkerSettings,
  place: WorkerPlace,
  traces: Traces | null,
): Promise<Worker> {
  await ensureSearchAttributes(place.connection, place.namespace);
  return Worker.create({
    ...place,
    taskQueue: TASK_QUEUES.control,
    workflowBundle: { codePath: traces?.workflows.bundle ?? join(packageRoot(), 'dist', 'workflow-bundle.js') },
    ...(traces && { sinks: traces.workflows.sinks }),
    maxCachedWorkflows: 200,
    // What waits for a worker that is gone is soon taken by another, which replays the history.
    stickyQueueScheduleToStartTimeout: '2s',
    ...shutdownTimes(shutdownGraceSeconds),
  });
}
