import { join } from 'node:path';
import { type NativeConnection, Worker } from '@temporalio/worker';
import { packageRoot } from '../engine/sources';
import { TASK_QUEUES } from '../engine/spec';
import { ensureSearchAttributes } from './search-attributes';
import { SHUTDOWN } from './shutdown';

/** Runs workflows and nothing else, so that no tensor work ever starves them. */
export async function createControlWorker(connection: NativeConnection, namespace: string): Promise<Worker> {
  await ensureSearchAttributes(connection, namespace);
  return Worker.create({
    connection,
    namespace,
    taskQueue: TASK_QUEUES.control,
    workflowBundle: { codePath: join(packageRoot(), 'dist', 'workflow-bundle.js') },
    maxCachedWorkflows: 200,
    ...SHUTDOWN,
  });
}
