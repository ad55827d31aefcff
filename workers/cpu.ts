import type { NativeConnection, Worker } from '@temporalio/worker';
import type { WorkerSettings } from './settings';
import { createTensorWorker } from './tensor-worker';

/** Reads, solves, packs, assembles: one activity computes while another waits for the store. */
export function createCpuWorker(
  settings: WorkerSettings,
  connection: NativeConnection,
  namespace: string,
): Promise<Worker> {
  return createTensorWorker('cpu', 2, settings, connection, namespace);
}
