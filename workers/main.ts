import { parseArgs } from 'node:util';
import type { Worker } from '@temporalio/worker';
import { CPU } from '../engine/devices';
import { QuantloomError, TASK_QUEUES } from '../engine/spec';
import { chooseDevice } from './choose-device';
import { connectWorker, installRuntime } from './connect';
import { createControlWorker } from './control';
import { createCpuWorkers } from './cpu';
import { createGpuWorkers } from './gpu';
import { MemoryBound, START_AFRESH } from './memory-bound';
import { openMetrics } from './metrics';
import { readWorkerSettings } from './settings';
import { shutDown, shutDownWithParent } from './shutdown';
import { closeTraces, tracesOf } from './traces';
import { workerIdentity } from './worker-identity';
import { logLine } from './worker-log';

/** The process of one worker: `main.js --queue control|cpu|gpu [--name NAME] [--wait SECONDS_FOR_THE_SERVER]`. Ends on SIGTERM, and when its stdin ends; with exit code 75 to be started afresh. */
async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { queue: { type: 'string' }, name: { type: 'string' }, wait: { type: 'string', default: '0' } },
  });
  const queue = values.queue;
  const settings = readWorkerSettings(process.env);
  const device = queue === 'gpu' ? await chooseDevice(settings.device) : null;
  const metrics = settings.metrics && (await openMetrics(queue ?? '', device?.name ?? null));
  installRuntime(metrics?.sdkPort ?? null);
  const traces = tracesOf(`worker-${queue}`, process.env);
  const { connection, namespace } = await connectWorker({ waitSeconds: Number(values.wait) });
  const identity = workerIdentity({ name: values.name, device: device?.name ?? null });
  const { version } = settings;
  const versioning = version && {
    workerDeploymentOptions: { version, useWorkerVersioning: true, defaultVersioningBehavior: 'PINNED' } as const,
  };
  const place = { connection, namespace, ...(identity && { identity }), ...versioning };
  let workers: readonly Worker[] = [];
  const memory = new MemoryBound(settings.maxMemoryBytes, () => shutDown(workers));
  const common = {
    ...{ settings, place, metrics, traces, device: device ?? CPU, name: values.name },
    activityEnded: () => memory.activityEnded(),
  };
  if (queue === 'control') workers = [await createControlWorker(settings, place, traces)];
  else if (queue === 'cpu') workers = await createCpuWorkers(common);
  else if (queue === 'gpu') workers = await createGpuWorkers(common);
  if (workers.length === 0)
    throw new Error(`--queue is "${queue}"; it must be one of ${Object.keys(TASK_QUEUES).join(', ')}`);
  shutDownWithParent(workers);
  const running = Promise.all(workers.map((worker) => worker.run()));
  running.catch(() => undefined);
  const page = settings.metrics && (await metrics?.serve(settings.metrics, workers, place));
  if (page) logLine('metrics', { page: `${page}/metrics` });
  const ready = { queue, ...(device && { device: device.name }), ...(page && { metrics: `${page}/metrics` }) };
  process.stdout.write(`${JSON.stringify({ event: 'ready', ...ready })}\n`);
  await running;
  await connection.close();
  await closeTraces();
  return memory.exceeded ? START_AFRESH : 0;
}

function traced(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

// The versions of what we depend on are fixed: that a later one of Amazon's SDK wants a later Node concerns nobody here.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    const told = QuantloomError.is(error) ? { code: error.code, error: error.message } : { error: traced(error) };
    logLine('worker-failed', told);
    process.exit(1);
  },
);
