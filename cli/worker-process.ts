import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { SourceAccess } from '../engine/sources';
import type { QueueName } from '../engine/spec';
import type { StorePlace } from '../engine/store';
import { DIST_DIRECTORY } from './dist-directory';
import { openLog } from './stack-log';

export interface WorkerProcessOptions {
  readonly queue: QueueName;
  /** Where its log goes: `logs/<name>.log` under `home`. Null: to this process's own stderr. */
  readonly logName: string | null;
  readonly home: string;
  readonly store: StorePlace;
  readonly sources: Pick<SourceAccess, 'models'>;
  readonly threads: number | null;
  /** For the matrix products of a gpu worker. Default: what the environment says. */
  readonly device?: string | undefined;
  /** Of the Temporal server; absent where the environment says it. */
  readonly address?: string;
  readonly namespace?: string;
  /** For a server that is still starting; default 0. */
  readonly serverWaitSeconds?: number;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/**
 * For glibc's malloc. Stages allocate and free the same large temporaries over and over: kept in huge pages they cost no page fault,
 * which is a tenth of the time otherwise. Other C libraries ignore it.
 */
const MALLOC_KEEPS_MEMORY = ['hugetlb=1', 'arena_max=1', 'mmap_threshold=1073741824', 'trim_threshold=1073741824']
  .map((tunable) => `glibc.malloc.${tunable}`)
  .join(':');

/**
 * For V8. Its heap is small beside the arrays that steps work in; by itself it would search all of it hundreds of times per minute,
 * which is a tenth of the time. Memory that threads share, which it does not count, is collected when enough of it was dropped
 * (engine/memory).
 */
const COLLECTS_SELDOM = ['--initial-old-space-size=128', '--expose-gc'];

/**
 * For NVIDIA's libraries: onnxruntime lets them round factors of float32 products to 10 bits of mantissa where tensor cores are there, and its
 * Node.js binding passes no option that says otherwise.
 */
const FLOAT32_STAYS_FLOAT32 = '0';

/** Starts a worker process. It ends by itself when this process is gone, because its standard input ends then. */
export function launchWorker(options: WorkerProcessOptions): ChildProcess {
  const { queue, logName, home, store, sources, threads, address, namespace, device, serverWaitSeconds = 0 } = options;
  const log = logName === null ? null : openLog(home, logName);
  const name = logName === null ? [] : ['--name', logName];
  const wait = ['--wait', String(serverWaitSeconds)];
  const child = spawn(
    process.execPath,
    [
      ...(queue === 'control' ? [] : COLLECTS_SELDOM),
      join(DIST_DIRECTORY, 'workers', 'main.js'),
      '--queue',
      queue,
      ...name,
      ...wait,
    ],
    {
      stdio: ['pipe', 'pipe', log ?? 'inherit'],
      detached: true,
      env: {
        GLIBC_TUNABLES: MALLOC_KEEPS_MEMORY,
        NVIDIA_TF32_OVERRIDE: FLOAT32_STAYS_FLOAT32,
        ...options.environment,
        ...(address === undefined ? {} : { TEMPORAL_ADDRESS: address }),
        ...(namespace === undefined ? {} : { TEMPORAL_NAMESPACE: namespace }),
        QUANTLOOM_HOME: home,
        QUANTLOOM_STORE: store.location,
        QUANTLOOM_CACHE: store.cache.directory,
        QUANTLOOM_MODELS: sources.models,
        ...(device === undefined ? {} : { QUANTLOOM_DEVICE: device }),
        ...(threads === null ? {} : { QUANTLOOM_THREADS: String(threads) }),
      },
    },
  );
  if (log !== null) closeSync(log);
  return child;
}

/** What a worker says when it takes work. */
export interface ReadyLine {
  readonly event: 'ready';
  /** Of a worker of `gpu`. */
  readonly device?: string;
  /** Address of its metrics, where it has any. */
  readonly metrics?: string;
}

/** Waits for the worker's line `{"event":"ready"}`. Never settles for one that ends before. */
export function workerReady(child: ChildProcess): Promise<ReadyLine> {
  return new Promise((resolve) => {
    if (!child.stdout) return;
    createInterface({ input: child.stdout }).on('line', (line) => {
      const ready = readyLine(line);
      if (ready) resolve(ready);
    });
  });
}

function readyLine(line: string): ReadyLine | null {
  try {
    const said = JSON.parse(line) as { event?: unknown };
    return said.event === 'ready' ? (said as ReadyLine) : null;
  } catch {
    return null;
  }
}
