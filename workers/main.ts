import { hostname } from 'node:os';
import { parseArgs } from 'node:util';
import { TASK_QUEUES } from '../engine/spec';
import { connectWorker, installRuntime } from './connect';
import { createControlWorker } from './control';
import { createCpuWorkers } from './cpu';
import { createGpuWorkers } from './gpu';
import { openMetrics } from './metrics';
import { readWorkerSettings } from './settings';
import { shutDownWithParent } from './shutdown';
import { logLine } from './worker-log';

/** The process of one worker: `main.js --queue control|cpu|gpu [--name NAME] [--wait SECONDS_FOR_THE_SERVER]`. Ends on SIGTERM, and when its stdin ends. */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { queue: { type: 'string' }, name: { type: 'string' }, wait: { type: 'string', default: '0' } },
  });
  const queue = values.queue;
  const settings = readWorkerSettings(process.env);
  const metrics = settings.metrics && (await openMetrics(queue ?? ''));
  installRuntime(metrics?.sdkPort ?? null);
  const { connection, namespace } = await connectWorker({ waitSeconds: Number(values.wait) });
  const identity = values.name === undefined ? {} : { identity: `${values.name}:${process.pid}@${hostname()}` };
  const { version } = settings;
  const versioning = version && {
    workerDeploymentOptions: { version, useWorkerVersioning: true, defaultVersioningBehavior: 'PINNED' } as const,
  };
  const place = { connection, namespace, ...identity, ...versioning };
  const workers =
    queue === 'control'
      ? [await createControlWorker(place)]
      : queue === 'cpu'
        ? await createCpuWorkers(settings, place, metrics)
        : queue === 'gpu'
          ? await createGpuWorkers(settings, place, metrics)
          : [];
  if (workers.length === 0)
    throw new Error(`--queue is "${queue}"; it must be one of ${Object.keys(TASK_QUEUES).join(', ')}`);
  shutDownWithParent(workers);
  const running = Promise.all(workers.map((worker) => worker.run()));
  running.catch(() => undefined);
  const page = settings.metrics && (await metrics?.serve(settings.metrics, workers, place));
  if (page) logLine('metrics', { page: `${page}/metrics` });
  process.stdout.write(`${JSON.stringify({ event: 'ready', queue, ...(page && { metrics: `${page}/metrics` }) })}\n`);
  await running;
  await connection.close();
}

// The versions of what we depend on are fixed: that a later one of Amazon's SDK wants a later Node concerns nobody here.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

main().then(
  () => process.exit(0),
  (error: unknown) => {
    logLine('worker-failed', { error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    process.exit(1);
  },
);
