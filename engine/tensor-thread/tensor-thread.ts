import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Piscina } from 'piscina';
import type { Perplexity } from '../evaluation';
import type { StageResult } from '../graphs';
import type { PerplexityTask, StageTask } from './tensor-tasks';
import * as tasks from './tensor-tasks';

/**
 * A thread of its own for forward passes: onnxruntime-node computes on the thread that calls it, and the event loop of a worker has
 * heartbeats to send. One thread, since one product uses all cores; its sessions serve all layers.
 *
 * An abort ends the thread wherever it is; the next task gets a fresh one.
 */
export interface TensorThread {
  /** The arrays of the task change hands: they are empty afterwards. */
  runStage(task: StageTask, signal?: AbortSignal): Promise<StageResult>;
  measurePerplexity(task: PerplexityTask, signal?: AbortSignal): Promise<Perplexity>;
}

/** Compiled beside this file; absent where TypeScript runs as it is (jest), and then the work is done on the calling thread. */
const WORKER_FILE = join(__dirname, 'tensor-worker.js');

let thread: TensorThread | null = null;

/** The thread of this process, started at first use. An idle one does not keep the process. */
export function tensorThread(): TensorThread {
  thread ??= existsSync(WORKER_FILE) ? startThread() : tasks;
  return thread;
}

function startThread(): TensorThread {
  const pool = new Piscina({
    filename: WORKER_FILE,
    minThreads: 0,
    maxThreads: 1,
    idleTimeout: Number.POSITIVE_INFINITY,
    recordTiming: false,
  });
  const run = async <Result>(
    name: string,
    task: object,
    buffers: ArrayBuffer[],
    signal?: AbortSignal,
  ): Promise<Result> => {
    signal?.throwIfAborted();
    try {
      return await pool.run(task, { name, transferList: buffers, ...(signal ? { signal } : {}) });
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
  };
  return {
    runStage: (task, signal) => {
      const [owned, buffers] = handOver(task);
      return run('runStage', owned, buffers, signal);
    },
    measurePerplexity: (task, signal) => run('measurePerplexity', task, [], signal),
  };
}

/** The task with arrays that can be transferred whole: small buffers of Node share one allocation, and those are copied. */
function handOver(task: StageTask): [StageTask, ArrayBuffer[]] {
  const buffers = new Set<ArrayBuffer>();
  const own = <T extends Uint8Array | Float32Array>(array: T): T => {
    const whole = array.byteLength === array.buffer.byteLength && array.buffer instanceof ArrayBuffer;
    const owned = whole ? array : (array.slice() as T);
    buffers.add(owned.buffer as ArrayBuffer);
    return owned;
  };
  const activations = Object.entries(task.activations).map(([name, { shape, data }]) => [
    name,
    { shape, data: own(data) },
  ]);
  const weights = Object.entries(task.weights).map(([name, weight]) => [
    name,
    'quantized' in weight ? { quantized: own(weight.quantized) } : { ...weight, data: own(weight.data) },
  ]);
  const owned = { ...task, activations: Object.fromEntries(activations), weights: Object.fromEntries(weights) };
  return [owned, [...buffers]];
}
