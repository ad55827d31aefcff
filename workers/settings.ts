import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import envPaths from 'env-paths';
import { type DeviceWish, parseDevice } from '../engine/devices/device-name';
import type { KernelChoice } from '../engine/kernels';
import { type SourceAccess, sourceAccess } from '../engine/sources';
import { QuantloomError } from '../engine/spec';
import { type StorePlace, storePlace } from '../engine/store';
import { type DeploymentVersion, readVersion } from './deployment-version';
import { parseMaxMemory, parseShutdownGrace } from './limits';
import { type HostAndPort, parseMetricsAddress } from './metrics';

/** What a worker is told by its environment. Temporal's own settings (TEMPORAL_ADDRESS …) are read by @temporalio/envconfig. */
export interface WorkerSettings {
  /** Directory of all local state. */
  readonly home: string;
  readonly store: StorePlace;
  /** Where models from elsewhere are kept, and how they are got. */
  readonly sources: SourceAccess;
  /** Threads for matrix products and kernels. */
  readonly threads: number;
  /** Native kernels where they can be loaded, or always the TypeScript ones. */
  readonly kernels: KernelChoice;
  /** Where a worker of `gpu` computes matrix products. */
  readonly device: DeviceWish;
  /** Resident bytes beyond which a worker ends to be started afresh; null: no bound. */
  readonly maxMemoryBytes: number | null;
  /** That running activities have to finish in when the worker is to end. */
  readonly shutdownGraceSeconds: number;
  /** Where metrics and health are to be had; null: nowhere. */
  readonly metrics: HostAndPort | null;
  /** Signs what webhooks are told; null: it goes unsigned. */
  readonly webhookSecret: string | null;
  /** Of the worker deployment that it is one of; null: of none. */
  readonly version: DeploymentVersion | null;
}

/** @throws QuantloomError WrongUse naming the variable. */
export function readWorkerSettings(environment: Readonly<Record<string, string | undefined>>): WorkerSettings {
  const home = environment.QUANTLOOM_HOME || envPaths('quantloom', { suffix: '' }).data;
  return {
    home,
    store: storePlace({ home, workingDirectory: '.' }, environment),
    sources: sourceAccess(environment.QUANTLOOM_MODELS || join(home, 'models'), environment),
    threads: readThreads(environment.QUANTLOOM_THREADS),
    kernels: readKernels(environment.QUANTLOOM_KERNELS),
    device: parseDevice(environment.QUANTLOOM_DEVICE, 'QUANTLOOM_DEVICE'),
    maxMemoryBytes: parseMaxMemory(environment.QUANTLOOM_MAX_MEMORY, 'QUANTLOOM_MAX_MEMORY'),
    shutdownGraceSeconds: parseShutdownGrace(environment.QUANTLOOM_SHUTDOWN_GRACE, 'QUANTLOOM_SHUTDOWN_GRACE'),
    metrics: parseMetricsAddress(environment.QUANTLOOM_METRICS_ADDRESS),
    webhookSecret: environment.QUANTLOOM_WEBHOOK_SECRET || null,
    version: readVersion(environment),
  };
}

function readThreads(value: string | undefined): number {
  if (!value) return availableParallelism();
  const threads = Number(value);
  if (Number.isInteger(threads) && threads >= 1 && threads <= 1024) return threads;
  throw new QuantloomError('WrongUse', `QUANTLOOM_THREADS is "${value}"; it must be a whole number from 1 to 1024`);
}

function readKernels(value: string | undefined): KernelChoice {
  if (!value || value === 'native') return 'native';
  if (value === 'typescript') return value;
  throw new QuantloomError('WrongUse', `QUANTLOOM_KERNELS is "${value}"; it must be native or typescript`);
}
