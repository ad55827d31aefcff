import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import type { Worker } from '@temporalio/worker';
import { Turns } from '../activities';
import { AHEAD_TASK_QUEUE, ownTaskQueue, TASK_QUEUES } from '../engine/spec';
import { storeDirectoryOf } from '../engine/store';
import { createTensorWorkers, type TensorProcess } from './tensor-workers';

/** Activities at a time. */
const STAGES = 2;

/**
 * Run matrix products, one activity after another since each takes the whole device; the next one reads its first batch meanwhile. What
 * nobody waits for yet fills the gaps. A device is for one process: sessions of two would have to share its memory.
 */
export function createGpuWorkers(common: TensorProcess): Promise<Worker[]> {
  const ownQueue = queueOfItsOwn(common);
  const queues = { [TASK_QUEUES.gpu]: STAGES, ...(ownQueue && { [ownQueue]: STAGES }), [AHEAD_TASK_QUEUE]: 1 };
  return createTensorWorkers(queues, { ...common, ownQueue, turns: new Turns(STAGES) });
}

/**
 * Where the store is elsewhere, what this worker makes is at hand here only: in the cache. Its queue has the same name when it is started again on
 * the same machine, of the same name, on the same device and with the same cache.
 */
function queueOfItsOwn({ settings, device, name }: TensorProcess): string | undefined {
  const { store } = settings;
  if (storeDirectoryOf(store) !== null || store.cache.bytes === 0) return undefined;
  const place = createHash('sha256').update(JSON.stringify([store.cache.directory, device.name, name ?? null]));
  return ownTaskQueue(`${hostname()}-${place.digest('hex').slice(0, 8)}`);
}
