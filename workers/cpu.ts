import type { Worker } from '@temporalio/worker';
import { TASK_QUEUES } from '../engine/spec';
import type { WorkerPlace } from './connect';
import type { ProcessMetrics } from './metrics';
import type { WorkerSettings } from './settings';
import { createTensorWorkers } from './tensor-workers';

/** Reads, solves, packs, assembles: one activity computes while another waits for the store. */
export function createCpuWorkers(
  settings: WorkerSettings,
  place: WorkerPlace,
  metrics: ProcessMetrics | null,
): Promise<Worker[]> {
  return createTensorWorkers({ [TASK_QUEUES.cpu]: 2 }, settings, place, metrics);
}
