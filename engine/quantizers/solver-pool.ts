import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Piscina } from 'piscina';
import { type KernelChoice, selectKernels } from '../kernels';
import type { BlockRows, BlockRowsTask } from './blocks/quantize-block-rows';
import type { Factorization, FactorizationTask } from './factorize';
import type { MinifloatRows, MinifloatRowsTask } from './minifloat/quantize-minifloat-rows';
import type { MismatchTask } from './mismatch-target';
import { nativeSolver } from './native-solver';
import type { CodesOnGrid } from './on-grid/codes-on-grid';
import type { TensorRowsTask } from './per-tensor/quantize-tensor-rows';
import { type QuantizedRows, ROWS_PER_BLOCK, type RowBlock, type RowFault, type SharedProblem } from './row-block';
import * as worker from './solver-worker';

/** Threads that solve, with native kernels or in TypeScript. Results do not depend on how many there are. */
export interface SolverPool {
  /** How many tasks it works on at a time. */
  readonly lanes: number;
  /** Rows of a task of quantizeRows; Infinity: all of a linear. */
  readonly rowsPerBlock: number;
  factorize(task: FactorizationTask, signal?: AbortSignal): Promise<Factorization>;
  quantizeRows(shared: SharedProblem, block: RowBlock, signal?: AbortSignal): Promise<QuantizedRows | RowFault>;
  /** In threads of JavaScript, whatever the kernels. */
  quantizeBlockRows(task: BlockRowsTask, signal?: AbortSignal): Promise<BlockRows>;
  /** The same. */
  quantizeMinifloatRows(task: MinifloatRowsTask, signal?: AbortSignal): Promise<MinifloatRows>;
  /** The same. */
  quantizeTensorRows(task: TensorRowsTask, signal?: AbortSignal): Promise<CodesOnGrid>;
  mismatchTarget(task: MismatchTask, signal?: AbortSignal): Promise<Float32Array | null>;
}

/** How long a thread waits for more work, milliseconds. Waiting threads do not keep the process alive. */
const IDLE_MS = 10_000;

/** Compiled beside this file; absent where TypeScript runs as it is (jest), and then the work is done on the calling thread. */
const WORKER_FILE = join(__dirname, 'solver-worker.js');

const pools = new Map<number, SolverPool>();

/**
 * The pool of so many threads: native kernels where they can be loaded, else worker threads that run the TypeScript ones; those are
 * started at first use and shared by all who ask for as many. An abort ends native work between two blocks, and the thread of a worker at
 * once, wherever it is in its loops.
 *
 * @param threads 0: without native kernels, tasks run on the calling thread.
 * @param kernels default: what the process prefers, see preferKernels.
 */
export function solverPool(threads: number, kernels?: KernelChoice): SolverPool {
  const { native } = selectKernels(kernels);
  const typescript = () => typescriptPool(threads);
  return native ? nativeSolver(native, threads, typescript) : typescript();
}

function typescriptPool(threads: number): SolverPool {
  let pool = pools.get(threads);
  if (!pool) {
    pool = threads > 0 && existsSync(WORKER_FILE) ? workerThreads(threads) : callingThread();
    pools.set(threads, pool);
  }
  return pool;
}

function workerThreads(threads: number): SolverPool {
  const pool = new Piscina({
    filename: WORKER_FILE,
    minThreads: 0,
    maxThreads: threads,
    idleTimeout: IDLE_MS,
    recordTiming: false,
    // As in tensor-threads.ts: memory is let go only where event loops turn.
    atomics: 'disabled',
  });
  const run = async (name: string, task: unknown, signal?: AbortSignal) => {
    signal?.throwIfAborted();
    try {
      return await pool.run(task, { name, signal });
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
  };
  return {
    lanes: threads,
    rowsPerBlock: ROWS_PER_BLOCK,
    factorize: (task, signal) => run('factorize', task, signal),
    quantizeRows: (shared, block, signal) => run('quantizeRows', { shared, block }, signal),
    quantizeBlockRows: (task, signal) => run('quantizeBlockRows', task, signal),
    quantizeMinifloatRows: (task, signal) => run('quantizeMinifloatRows', task, signal),
    quantizeTensorRows: (task, signal) => run('quantizeTensorRows', task, signal),
    mismatchTarget: (task, signal) => run('mismatchTarget', task, signal),
  };
}

function callingThread(): SolverPool {
  // A turn of the event loop between tasks, so that timers and an abort get their chance.
  const run = async <T>(work: () => T | Promise<T>, signal?: AbortSignal): Promise<T> => {
    await setImmediate();
    signal?.throwIfAborted();
    return work();
  };
  return {
    lanes: 1,
    rowsPerBlock: ROWS_PER_BLOCK,
    factorize: (task, signal) => run(() => worker.factorize(task), signal),
    quantizeRows: (shared, block, signal) => run(() => worker.quantizeRows({ shared, block }), signal),
    quantizeBlockRows: (task, signal) => run(() => worker.quantizeBlockRows(task), signal),
    quantizeMinifloatRows: (task, signal) => run(() => worker.quantizeMinifloatRows(task), signal),
    quantizeTensorRows: (task, signal) => run(() => worker.quantizeTensorRows(task), signal),
    mismatchTarget: (task, signal) => run(() => worker.mismatchTarget(task), signal),
  };
}
