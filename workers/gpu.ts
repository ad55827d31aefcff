import type { Worker } from '@temporalio/worker';
import { AHEAD_TASK_QUEUE, TASK_QUEUES } from '../engine/spec';
import { createTensorWorkers, type TensorProcess } from './tensor-workers';

/**
 * Run matrix products, one activity after another since each takes the whole device; the next one reads its first batch meanwhile. What
 * nobody waits for yet fills the gaps. A device is for one process: sessions of two would have to share its memory.
 */
export function createGpuWorkers(common: TensorProcess): Promise<Worker[]> {
  return createTensorWorkers({ [TASK_QUEUES.gpu]: 2, [AHEAD_TASK_QUEUE]: 1 }, common);
}
