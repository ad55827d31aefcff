import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Piscina } from 'piscina';
import { type ExecutionProvider, isCpu } from '../devices/device';
import type { Perplexity } from '../evaluation';
import type { StageResult, StageSums } from '../graphs';
import { ownedArrays } from './owned-arrays';
import type { PerplexityTask, SharedBatch, StageOpening, StageTask, StoredWeights } from './tensor-tasks';
import * as tasks from './tensor-tasks';
import { receivedError } from './thread-error';
import { Turnstile } from './turnstile';

export interface StageToOpen extends Omit<StageOpening, 'weights'> {
  /** Equal keys have equal weights: a thread decodes them once as long as stages with the same key follow each other. */
  readonly weightsKey: string;
  /** Called when the weights are needed, to hand them over; they are done with when `use` settles. */
  readonly weights: (use: (weights: StoredWeights) => Promise<void>) => Promise<void>;
}

/** A stage that is being shown a slice, batch after batch. It has a thread for itself until it is closed. */
export interface OpenStage {
  /** Settles when the outputs of the batch are written. */
  run(batch: SharedBatch): Promise<void>;
  /** The sums over all batches. */
  finish(): Promise<StageSums>;
  /** Finished or not: makes room for others. */
  close(): void;
}

/**
 * Threads of their own for forward passes: onnxruntime-node computes on the thread that calls it, and the event loop of a worker has
 * heartbeats to send. Slices that pass side by side, a thread each, use the cores better than one whose every operator is divided among
 * them; who is alone gets all cores. On another device everything passes alone, in one and the same thread: the device is not shared, and what its
 * sessions hold is held once.
 *
 * An abort ends the thread wherever it is; the next task gets a fresh one.
 */
export interface TensorThreads {
  /** The arrays of the task change hands: they are empty afterwards. */
  runStage(task: StageTask, signal?: AbortSignal): Promise<StageResult>;
  /** Waits for its turn. */
  openStage(stage: StageToOpen, signal?: AbortSignal): Promise<OpenStage>;
  measurePerplexity(task: PerplexityTask, signal?: AbortSignal): Promise<Perplexity>;
}

/** Compiled beside this file; absent where TypeScript runs as it is (jest), and then the work is done on the calling thread. */
const WORKER_FILE = join(__dirname, 'tensor-worker.js');

/** A stage with more weights than this, in float32, passes alone: its operators are large enough for all cores, its weights too large to be held twice. */
const LARGE_WEIGHT_BYTES = 512 * 2 ** 20;

/** Stages that pass side by side, where there are as many threads. */
const STREAMS = 2;

let threads: TensorThreads | null = null;

/** The threads of this process, started at first use. Idle ones do not keep the process. */
export function tensorThreads(): TensorThreads {
  threads ??= existsSync(WORKER_FILE)
    ? tensorThreadsOf(Array.from({ length: STREAMS }, threadRunner))
    : tensorThreadsOf([callingThreadRunner()]);
  return threads;
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
    // A thread that sleeps between tasks instead of turning its event loop never lets go of memory that native code has seen.
    atomics: 'disabled',
  });
  const run = async (name: string, task: unknown, arrays: readonly ArrayBuffer[], signal?: AbortSignal) => {
    signal?.throwIfAborted();
    try {
      return await pool.run(task, { name, transferList: [...arrays], ...(signal ? { signal } : {}) });
    } catch (error) {
      signal?.throwIfAborted();
      throw receivedError(error);
    }
  };
  return run as Runner;
}

function callingThreadRunner(): Runner {
  const { closeStage, measurePerplexity, openStage, runBatch, runStage } = tasks;
  const byName = { closeStage, measurePerplexity, openStage, runBatch, runStage };
  const run = async (name: keyof Tasks, task: unknown, _arrays: readonly ArrayBuffer[], signal?: AbortSignal) => {
    signal?.throwIfAborted();
    return (byName[name] as (task: unknown) => unknown)(task);
  };
  return run as Runner;
}

interface TensorThread {
  /** The one that is taken first where none is better. */
  readonly rank: number;
  readonly run: Runner;
  /** Of the weights that it holds. */
  weightsKey: string | null;
}

function tensorThreadsOf(runners: readonly Runner[]): TensorThreads {
  const turnstile = new Turnstile(runners.length);
  const idle = runners.map((runner, rank): TensorThread => {
    const thread: TensorThread = {
      rank,
      weightsKey: null,
      run: ((...call: Parameters<Runner>) =>
        runner(...call).catch((error: unknown) => {
          thread.weightsKey = null; // the thread may be a new one
          throw error;
        })) as Runner,
    };
    return thread;
  });

  /** A thread, if possible the one that holds the weights, until `release`. */
  const take = async (request: { places?: number; weightsKey?: string; signal?: AbortSignal | undefined }) => {
    const { places = 1, weightsKey, signal } = request;
    const leave = await turnstile.enter({ places, ...(signal ? { signal } : {}) });
    idle.sort((a, b) => a.rank - b.rank);
    const holder = idle.findIndex((thread) => thread.weightsKey === weightsKey);
    const [thread] = idle.splice(Math.max(0, holder), 1) as [TensorThread];
    let taken = true;
    const release = () => {
      if (taken) idle.push(thread);
      taken = false;
      leave();
    };
    return { thread, release };
  };
  const placesOn = (executionProviders?: readonly ExecutionProvider[]) =>
    isCpu(executionProviders) ? 1 : runners.length;
  const once = async <T>(places: number, work: (run: Runner) => Promise<T>, signal?: AbortSignal): Promise<T> => {
    const { thread, release } = await take({ places, signal });
    return work(thread.run).finally(release);
  };
  const opened = async (
    request: { places?: number; weightsKey?: string; threads: number },
    open: (thread: TensorThread) => Promise<void>,
    signal?: AbortSignal,
  ): Promise<OpenStage> => {
    const { thread, release } = await take({ ...request, signal });
    try {
      await open(thread);
    } catch (error) {
      release();
      throw error;
    }
    const busy = () => runners.length - idle.length;
    return {
      run: (batch) => {
        const share = { ...batch, threads: Math.max(1, Math.floor(request.threads / busy())) };
        return thread.run('runBatch', share, [], signal);
      },
      finish: () => thread.run('closeStage', undefined, [], signal),
      close: release,
    };
  };

  return {
    runStage: (task, signal) => {
      const activations = ownedArrays(task.activations);
      const weights = ownedArrays(task.weights);
      const owned = { ...task, activations: activations.value, weights: weights.value };
      const places = placesOn(task.runner.executionProviders);
      const buffers = [...activations.buffers, ...weights.buffers];
      return once(places, (run) => run('runStage', owned, buffers, signal), signal);
    },
    openStage: ({ weightsKey, weights, ...stage }, signal) => {
      const bytes = stage.stage.applies.reduce((sum, { rows, columns }) => sum + rows * columns * 4, 0);
      const sharing = bytes <= LARGE_WEIGHT_BYTES && stage.runner.threads >= runners.length;
      const places = sharing ? placesOn(stage.runner.executionProviders) : runners.length;
      const open = async (thread: TensorThread) => {
        const openWith = async (weights: StoredWeights | null) => {
          const { value, buffers } = ownedArrays(weights);
          await thread.run('openStage', { ...stage, weights: value }, buffers, signal);
        };
        if (thread.weightsKey === weightsKey) await openWith(null);
        else await weights(openWith);
        thread.weightsKey = weightsKey;
      };
      return opened({ places, weightsKey, threads: stage.runner.threads }, open, signal);
    },
    measurePerplexity: (task, signal) =>
      once(placesOn(task.device.executionProviders), (run) => run('measurePerplexity', task, [], signal), signal),
  };
}
