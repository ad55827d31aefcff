import type { NativeConnection, Worker } from '@temporalio/worker';
import type { WorkerSettings } from './settings';
import { createTensorWorker } from './tensor-worker';

/** Runs matrix products; one activity at a time, since it takes the whole device. */
export function createGpuWorker(
  settings: WorkerSettings,
  connection: NativeConnection,
  namespace: string,
): Promise<Worker> {
  return createTensorWorker('gpu', 1, settings, connection, namespace);
}
