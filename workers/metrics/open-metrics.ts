import type { Worker } from '@temporalio/worker';
import type { ArtifactStore } from '../../engine/store';
import type { WorkerPlace } from '../connect';
import { countedStore } from './counted-store';
import { freePort } from './free-port';
import { addJobMetrics } from './job-metrics';
import type { HostAndPort } from './metrics-address';
import { serveMetrics } from './metrics-server';
import { WorkerMetrics } from './worker-metrics';

/** Metrics and health of one worker process. */
export interface ProcessMetrics {
  /** Where Temporal's SDK is to tell its own, on this machine. */
  readonly sdkPort: number;
  observe(event: string, fields: Readonly<Record<string, unknown>>): void;
  /** Told whether the store's cache had what somebody wanted. */
  soughtInCache(found: boolean): void;
  /** The same store, counted; its answers tell the health. */
  counted(store: ArtifactStore): ArtifactStore;
  /** Begins to answer for the workers. @returns the address of the page. */
  serve(address: HostAndPort, workers: readonly Worker[], place: WorkerPlace): Promise<string>;
}

/** A key that no computation has. */
const NO_KEY = '0'.repeat(64);
const SDK_MILLISECONDS = 2_000;

/** @param device of a worker of `gpu`; null: it has none to itself. */
export async function openMetrics(queue: string, device: string | null): Promise<ProcessMetrics> {
  const metrics = new WorkerMetrics(queue, device);
  const sdkPort = await freePort();
  let store: ArtifactStore | null = null;
  return {
    sdkPort,
    observe: (event, fields) => metrics.observe(event, fields),
    soughtInCache: (found) => metrics.soughtInCache(found),
    counted: (plain) => {
      store = plain;
      return countedStore(plain, metrics);
    },
    async serve(address, workers, place) {
      if (queue === 'control') addJobMetrics(metrics.registry, place);
      const { url } = await serveMetrics(address, {
        metrics: async () => `${await metrics.registry.metrics()}\n${await sdkMetrics(sdkPort)}`,
        // Whoever cannot reach the store is of no use; a restart may find another way there.
        unhealthy: async () =>
          (await store?.recall(NO_KEY, { peek: true }).then(
            () => null,
            (error: unknown) => `the store does not answer: ${String(error)}`,
          )) ?? null,
        unready: () => {
          const states = workers.map((worker) => worker.getState());
          const other = states.find((state) => state !== 'RUNNING');
          return other === undefined ? null : `a worker is ${other.toLowerCase()}`;
        },
      });
      return url;
    },
  };
}

async function sdkMetrics(port: number): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${port}/metrics`, { signal: AbortSignal.timeout(SDK_MILLISECONDS) });
  return answer.text();
}
