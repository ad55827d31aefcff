import type { Worker } from '@temporalio/worker';
import type { WorkerPlace } from './connect';
import type { WorkerSettings } from './settings';
import { createTensorWorker } from './tensor-worker';

/** Runs matrix products; one activity at a time, since it takes the whole device. */
export function createGpuWorker(settings: WorkerSettings, place: WorkerPlace): Promise<Worker> {
  return createTensorWorker('gpu', 1, settings, place);
}
