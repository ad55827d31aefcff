import type { Worker } from '@temporalio/worker';
import type { Device } from '../engine/devices';
import { AHEAD_TASK_QUEUE, TASK_QUEUES } from '../engine/spec';
import type { WorkerPlace } from './connect';
import type { ProcessMetrics } from './metrics';
import type { WorkerSettings } from './settings';
import { createTensorWorkers } from './tensor-workers';

/**
 * Run matrix products, one activity after another since each takes the whole device; the next one reads its first batch meanwhile. What
 * nobody waits for yet fills the gaps. A device is for one process: sessions of two would have to share its memory.
 */
export function createGpuWorkers(
  settings: WorkerSettings,
  place: WorkerPlace,
  metrics: ProcessMetrics | null,
  device: Device,
): Promise<Worker[]> {
  return createTensorWorkers({ [TASK_QUEUES.gpu]: 2, [AHEAD_TASK_QUEUE]: 1 }, settings, place, metrics, device);
}
