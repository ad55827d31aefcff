import type { Worker } from '@temporalio/worker';
import { TASK_QUEUES } from '../engine/spec';
import { createTensorWorkers, type TensorProcess } from './tensor-workers';

/** Reads, solves, packs, assembles: one activity computes while another waits for the store. */
export function createCpuWorkers(common: TensorProcess): Promise<Worker[]> {
  return createTensorWorkers({ [TASK_QUEUES.cpu]: 2 }, common);
}
