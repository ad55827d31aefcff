import type { Worker } from '@temporalio/worker';
import type { WorkerPlace } from './connect';
import type { WorkerSettings } from './settings';
import { createTensorWorker } from './tensor-worker';

/** Reads, solves, packs, assembles: one activity computes while another waits for the store. */
export function createCpuWorker(settings: WorkerSettings, place: WorkerPlace): Promise<Worker> {
  return createTensorWorker('cpu', 2, settings, place);
}
