import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import envPaths from 'env-paths';
import { QuantloomError } from '../engine/spec';

/** What a worker is told by its environment. Temporal's own settings (TEMPORAL_ADDRESS …) are read by @temporalio/envconfig. */
export interface WorkerSettings {
  /** Directory of all local state. */
  readonly home: string;
  /** Directory of the artifact store. */
  readonly store: string;
  /** Threads for matrix products and kernels. */
  readonly threads: number;
}

/** @throws QuantloomError WrongUse naming the variable. */
export function readWorkerSettings(environment: Readonly<Record<string, string | undefined>>): WorkerSettings {
  const home = environment.QUANTLOOM_HOME || envPaths('quantloom', { suffix: '' }).data;
  return {
    home,
    store: environment.QUANTLOOM_STORE || join(home, 'store'),
    threads: readThreads(environment.QUANTLOOM_THREADS),
  };
}

function readThreads(value: string | undefined): number {
  if (!value) return availableParallelism();
  const threads = Number(value);
  if (Number.isInteger(threads) && threads >= 1 && threads <= 1024) return threads;
  throw new QuantloomError('WrongUse', `QUANTLOOM_THREADS is "${value}"; it must be a whole number from 1 to 1024`);
}
