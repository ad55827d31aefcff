/**
 * Whole jobs of large models through a real Temporal server, with activities that do nothing: what the order of work alone costs, and how
 * far it stays from Temporal's limits. `npm run bench:scale -- --help` lists the flags.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { packageRoot } from '../../engine/sources';
import { AHEAD_TASK_QUEUE, type QuantizationSpecInput, TASK_QUEUES } from '../../engine/spec';
import { openFileStore } from '../../engine/store';
import { endWithChildren } from '../measure/end-with-children';
import { ProcessTree } from '../measure/process-tree';
import { provideTemporal } from '../quantloom-command';
import { ResultsFile } from '../results-file';
import { measureHistories } from './measure-histories';
import type { ScaleIdentity, ScaleRun } from './scale-run';
import { llama70B, type ModelShapes, qwen3Experts, writeHollowModel } from './shapes';
import { type ActivityCounts, simulatedActivities } from './simulated-activities';

const HELP = `usage: npm run bench:scale -- [flags]

  --models LIST   of llama, experts (default both)
  --layers N      of each (default: all of the model's)
  --orders LIST   of stage, independent (default both)
  --slices N      slices of the calibration set (default 64)
  --parts N       workers that share a solve (default 8)
  --workers N     simulated workers, half of them for matrix products (default 64)
  --json FILE     keep results here, and go on from there`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      models: { type: 'string', default: 'llama,experts' },
      layers: { type: 'string' },
      orders: { type: 'string', default: 'stage,independent' },
      slices: { type: 'string', default: '64' },
      parts: { type: 'string', default: '8' },
      workers: { type: 'string', default: '64' },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(`${HELP}\n`);
    return;
  }
  const work = mkdtempSync(join(tmpdir(), 'quantloom-scale-'));
  endWithChildren(work);
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const identity = { slices: Number(values.slices), parts: Number(values.parts), workers: Number(values.workers) };
  const results = ResultsFile.open<ScaleIdentity, ScaleRun>(values.json ?? null, 'scale', identity);
  await provideTemporal();
  try {
    for (const name of values.models.split(',')) {
      const layers = values.layers === undefined ? [] : [Number(values.layers)];
      const shapes = name === 'llama' ? llama70B(...layers) : qwen3Experts(...layers);
      for (const order of values.orders.split(',') as ('stage' | 'independent')[]) {
        if (results.results.runs.some((run) => run.model === shapes.name && run.order === order)) continue;
        process.stderr.write(`${shapes.name}, order ${order}\n`);
        results.add(await simulate(shapes, order, identity, join(work, `${name}-${order}`)));
      }
    }
    console.table(results.results.runs.map(({ date: _date, ...run }) => run));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function simulate(
  shapes: ModelShapes,
  order: 'stage' | 'independent',
  { slices, parts, workers: fleet }: ScaleIdentity,
  directory: string,
): Promise<ScaleRun> {
  const model = join(directory, 'model');
  await writeHollowModel(shapes, model);
  const environment = await TestWorkflowEnvironment.createLocal({
    server: {
      executable: { type: 'existing-path', path: process.env.QUANTLOOM_TEMPORAL_CLI as string },
      dbFilename: join(directory, 'temporal.db'),
      log: { format: 'pretty', level: 'never' },
    },
  });
  const tree = new ProcessTree(process.pid);
  const looking = setInterval(() => tree.look(), 200);
  const control = spawn(process.execPath, [join(packageRoot(), 'dist', 'workers', 'main.js'), '--queue', 'control'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, TEMPORAL_ADDRESS: environment.address, QUANTLOOM_HOME: join(directory, 'home') },
  });
  const counts: ActivityCounts = { begun: {} };
  const workers: Worker[] = [];
  const connections: NativeConnection[] = [];
  let running: Promise<unknown> = Promise.resolve();
  try {
    await once(control.stdout, 'data');
    const runtime = {
      store: await openFileStore(join(directory, 'store')),
      storeDirectory: null,
      threads: 1,
      log: () => undefined,
    };
    const activities = simulatedActivities(runtime, counts);
    const queues = [TASK_QUEUES.cpu, TASK_QUEUES.gpu, AHEAD_TASK_QUEUE];
    for (let index = 0; index < fleet; index++) {
      const taskQueue = queues[index % 2] as string;
      // One of its own: workers of one connection must not share a queue.
      const connection = await NativeConnection.connect({ address: environment.address });
      connections.push(connection);
      const most = { maxConcurrentActivityTaskExecutions: 2, maxConcurrentActivityTaskPolls: 1 };
      workers.push(await Worker.create({ connection, taskQueue, activities, identity: `simulated-${index}`, ...most }));
    }
    running = Promise.all(workers.map((worker) => worker.run()));
    running.catch(() => undefined);
    const loadBefore = loadavg()[0] as number;
    const began = performance.now();
    const before = cpuOf(tree);
    const spec: QuantizationSpecInput = {
      ...{ model, output: join(directory, 'out'), order, solveParts: parts },
      recipe: { bits: 4, groupSize: 128, mismatch: 0 },
      calibration: { source: 'demo', samples: 8 * slices, sequenceLength: 2048, sliceTokens: 16_384 },
    };
    const workflowId = 'job';
    await environment.client.workflow.execute('quantizeModel', {
      ...{ taskQueue: TASK_QUEUES.control, workflowId, args: [spec] },
    });
    const wallSeconds = (performance.now() - began) / 1000;
    tree.look();
    const after = cpuOf(tree);
    const run = {
      ...{ model: shapes.name, order, date: new Date().toISOString(), loadBefore, wallSeconds },
      activities: Object.values(counts.begun).reduce((sum, count) => sum + count, 0),
      serverSeconds: after.server.cpuSeconds - before.server.cpuSeconds,
      controlSeconds: after.control.cpuSeconds - before.control.cpuSeconds,
      ...{ serverPeakBytes: after.server.peakBytes, controlPeakBytes: after.control.peakBytes },
      ...(await measureHistories(environment.client, workflowId)),
    };
    return run;
  } finally {
    clearInterval(looking);
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
    await running;
    for (const connection of connections) await connection.close();
    control.stdin.end();
    await once(control, 'exit');
    await environment.teardown();
  }
}

function cpuOf(tree: ProcessTree) {
  const of = (words: string) => {
    const found = tree.processes.find(({ commandLine }) => commandLine.includes(words));
    return { cpuSeconds: found?.cpuSeconds ?? 0, peakBytes: found?.peakBytes ?? 0 };
  };
  return { server: of('start-dev'), control: of('--queue control') };
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
    process.exit(1);
  },
);
