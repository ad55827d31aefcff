import { setTimeout as delay } from 'node:timers/promises';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import {
  DefaultLogger,
  NativeConnection,
  Runtime,
  TransportError,
  type WorkerDeploymentOptions,
} from '@temporalio/worker';
import { logLine } from './worker-log';

/**
 * Installs the SDK's runtime, once per process and before anything else of the SDK: its log goes to ours.
 *
 * @param metricsPort of this machine, where its own metrics are to be had in Prometheus' format; null: nowhere.
 */
export function installRuntime(metricsPort: number | null): void {
  Runtime.install({
    logger: new DefaultLogger('WARN', ({ level, message, meta }) =>
      logLine('temporal', { level, message, ...printable(meta) }),
    ),
    telemetryOptions: {
      logging: { filter: { core: 'WARN', other: 'ERROR' }, forward: {} },
      ...(metricsPort !== null && {
        metrics: {
          prometheus: {
            ...{ bindAddress: `127.0.0.1:${metricsPort}`, useSecondsForDurations: true },
            ...{ countersTotalSuffix: true, unitSuffix: true },
          },
        },
      }),
    },
  });
}

function printable(meta: object | undefined): Record<string, unknown> {
  const entries = Object.entries(meta ?? {}).filter(([, value]) => value !== undefined && typeof value !== 'function');
  return Object.fromEntries(
    entries.map(([key, value]) => [key, value instanceof Error ? (value.stack ?? value.message) : value]),
  );
}

/** Which server a worker polls, and under which name. */
export interface WorkerPlace {
  readonly connection: NativeConnection;
  readonly namespace: string;
  /** Default: `PID@HOST`. */
  readonly identity?: string;
  /** Jobs stay with the version that they began with. Absent: there is only one. */
  readonly workerDeploymentOptions?: WorkerDeploymentOptions;
}

const RETRY_MILLISECONDS = 50;

/**
 * Connects by TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_* or Temporal's own configuration file.
 *
 * @param waitSeconds for a server that is still starting.
 */
export async function connectWorker({ waitSeconds }: { readonly waitSeconds: number }): Promise<WorkerPlace> {
  const { namespace, connectionOptions } = loadClientConnectConfig();
  const { address, apiKey, tls, metadata } = connectionOptions;
  const options = {
    ...(address ? { address } : {}),
    ...(apiKey ? { apiKey } : {}),
    ...(tls === undefined ? {} : { tls }),
    ...(metadata ? { metadata: metadata as Record<string, string> } : {}),
  };
  for (const deadline = Date.now() + waitSeconds * 1000; ; await delay(RETRY_MILLISECONDS)) {
    try {
      return { connection: await NativeConnection.connect(options), namespace: namespace ?? 'default' };
    } catch (error) {
      if (!(error instanceof TransportError) || Date.now() > deadline) throw error;
    }
  }
}
