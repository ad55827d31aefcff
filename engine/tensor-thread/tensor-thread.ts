import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Piscina } from 'piscina';
import type { Perplexity } from '../evaluation';
import type { MismatchStreamOptions, StageResult, StageSums } from '../graphs';
import { ownedArrays } from './owned-arrays';
import type { PerplexityTask, StageOpening, StageTask, StoredBatch, StoredWeights } from './tensor-tasks';
import * as tasks from './tensor-tasks';
import { Turnstile } from './turnstile';

export interface StageToOpen extends Omit<StageOpening, 'weights'> {
  /** Equal keys have equal weights: they are decoded once as long as stages with the same key follow each other. */
  readonly weightsKey: string;
  /** Called when the weights are needed. */
  readonly weights: () => Promise<StoredWeights>;
}

/** A stage that is being shown a slice, batch after batch. It has the thread for itself until it is closed. */
export interface OpenStage {
  /** The arrays of the batch change hands, and come back with the outputs written. */
  run(batch: StoredBatch): Promise<StoredBatch>;
  /** The sums over all batches. */
  finish(): Promise<StageSums>;
  /** Finished or not: makes room for others. */
  close(): void;
}

/**
 * A thread of its own for forward passes: onnxruntime-node computes on the thread that calls it, and the event loop of a worker has
 * heartbeats to send. One thread, since one product uses all cores; its sessions serve all layers.
 *
 * An abort ends the thread wherever it is; the next task gets a fresh one.
 */
export interface TensorThread {
  /** The arrays of the task change hands: they are empty afterwards. */
  runStage(task: StageTask, signal?: AbortSignal): Promise<StageResult>;
  /** Waits for its turn. */
  openStage(stage: StageToOpen, signal?: AbortSignal): Promise<OpenStage>;
  /** As a stage, with MISMATCH_INPUTS and no outputs. */
  openMismatch(mismatch: MismatchStreamOptions, signal?: AbortSignal): Promise<OpenStage>;
  measurePerplexity(task: PerplexityTask, signal?: AbortSignal): Promise<Perplexity>;
}

/** Compiled beside this file; absent where TypeScript runs as it is (jest), and then the work is done on the calling thread. */
const WORKER_FILE = join(__dirname, 'tensor-worker.js');

let thread: TensorThread | null = null;

/** The thread of this process, started at first use. An idle one does not keep the process. */
export function tensorThread(): TensorThread {
  thread ??= startThread(existsSync(WORKER_FILE) ? threadRunner() : callingThreadRunner());
  return thread;
}

type Tasks = typeof tasks;

/** Runs a task by name; `arrays` change hands. */
type Runner = <Name extends keyof Tasks>(
  name: Name,
  task: Parameters<Tasks[Name]>[0] | undefined,
  arrays: readonly ArrayBuffer[],
  signal?: AbortSignal,
) => ReturnType<Tasks[Name]>;

function threadRunner(): Runner {
  const pool = new Piscina({
    filename: WORKER_FILE,
    minThreads: 0,
    maxThreads: 1,
    // The next batch lies ready when one is done.
    concurrentTasksPerWorker: 2,
    idleTimeout: Number.POSITIVE_INFINITY,
    recordTiming: false,
  });
  const run = async (name: string, task: unknown, arrays: readonly ArrayBuffer[], signal?: AbortSignal) => {
    signal?.throwIfAborted();
    try {
      return await pool.run(task, { name, transferList: [...arrays], ...(signal ? { signal } : {}) });
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
  };
  return run as Runner;
}

function callingThreadRunner(): Runner {
  const { closeStage, measurePerplexity, openMismatch, openStage, runBatch, runStage } = tasks;
  const byName = { closeStage, measurePerplexity, openMismatch, openStage, runBatch, runStage };
  const run = async (name: keyof Tasks, task: unknown, _arrays: readonly ArrayBuffer[], signal?: AbortSignal) => {
    signal?.throwIfAborted();
    return (byName[name] as (task: unknown) => unknown)(task);
  };
  return run as Runner;
}

function startThread(runner: Runner): TensorThread {
  const turnstile = new Turnstile();
  let heldWeights: string | null = null;

  const run = ((...call: Parameters<Runner>) =>
    runner(...call).catch((error: unknown) => {
      heldWeights = null; // the thread may be a new one
      throw error;
    })) as Runner;
  const alone = async <T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> => {
    const leave = await turnstile.enter(signal);
    return work().finally(leave);
  };
  const open = async ({ weightsKey, weights, ...stage }: StageToOpen, signal?: AbortSignal): Promise<void> => {
    const { value, buffers } = ownedArrays(heldWeights === weightsKey ? null : await weights());
    await run('openStage', { ...stage, weights: value }, buffers, signal);
    heldWeights = weightsKey;
  };

  const opened = async (work: () => Promise<void>, signal?: AbortSignal): Promise<OpenStage> => {
    const leave = await turnstile.enter(signal);
    try {
      await work();
    } catch (error) {
      leave();
      throw error;
    }
    return {
      run: (batch) => {
        const arrays = [...Object.values(batch.inputs), ...Object.values(batch.outputs)];
        return run('runBatch', batch, arrays.map(({ buffer }) => buffer) as ArrayBuffer[], signal);
      },
      finish: () => run('closeStage', undefined, [], signal),
      close: leave,
    };
  };

  return {
    runStage: (task, signal) => {
      const activations = ownedArrays(task.activations);
      const weights = ownedArrays(task.weights);
      const owned = { ...task, activations: activations.value, weights: weights.value };
      return alone(() => run('runStage', owned, [...activations.buffers, ...weights.buffers], signal), signal);
    },
    openStage: (stage, signal) => opened(() => open(stage, signal), signal),
    openMismatch: (mismatch, signal) => opened(() => run('openMismatch', mismatch, [], signal), signal),
    measurePerplexity: (task, signal) => alone(() => run('measurePerplexity', task, [], signal), signal),
  };
}
