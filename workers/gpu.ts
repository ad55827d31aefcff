import type { Worker } from '@temporalio/worker';
import type { WorkerPlace } from './connect';
import type { WorkerSettings } from './settings';
import { createTensorWorker } from './tensor-worker';

/** Runs matrix products, one activity after another since each takes the whole device; the next one reads its first batch meanwhile. */
export function createGpuWorker(settings: WorkerSettings, place: WorkerPlace): Promise<Worker> {
  return createTensorWorker('gpu', 2, settings, place);
}
