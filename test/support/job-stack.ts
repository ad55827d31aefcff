import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import { createActivities } from '../../activities';
import type { JobResult, QuantizationSpecInput } from '../../engine/spec';
import { TASK_QUEUES } from '../../engine/spec';
import { openFileStore } from '../../engine/store';
import type { ArtifactStore } from '../../engine/store/artifact-store';
import { ensureSearchAttributes } from '../../workers/search-attributes';

export interface LogEvent {
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A real Temporal server and workers of every kind, in this process. */
export interface JobStack {
  readonly client: Client;
  readonly directory: string;
  readonly store: ArtifactStore;
  /** What the activities logged: `computed`, `cached`, `recomputing` ... */
  readonly log: LogEvent[];
  /** A fresh path for an output. */
  output(name: string): string;
  start(spec: QuantizationSpecInput, id: string): ReturnType<Client['workflow']['start']>;
  run(spec: QuantizationSpecInput, id: string): Promise<JobResult>;
  stop(): Promise<void>;
}

export interface JobStackOptions {
  /** Replaces the store that activities see, to make it fail. */
  readonly wrapStore?: (store: ArtifactStore) => ArtifactStore;
  readonly serverArguments?: readonly string[];
}

export async function startJobStack({
  wrapStore = (store) => store,
  serverArguments = [],
}: JobStackOptions = {}): Promise<JobStack> {
  const path = process.env.QUANTLOOM_TEMPORAL_CLI;
  if (!path) throw new Error('no Temporal CLI: see the message of the global set-up above');
  const directory = await mkdtemp(join(tmpdir(), 'quantloom-job-'));
  const environment = await TestWorkflowEnvironment.createLocal({
    server: { executable: { type: 'existing-path', path }, extraArgs: [...serverArguments] },
  });
  const { nativeConnection: connection, client } = environment;
  await ensureSearchAttributes(connection, 'default');
  const log: LogEvent[] = [];
  const store = await openFileStore(join(directory, 'store'));
  const activities = createActivities({
    store: wrapStore(store),
    storeDirectory: join(directory, 'store'),
    threads: 2,
    log: (event, fields) => log.push({ event, fields }),
  });
  const codePath = join(__dirname, '..', '..', 'dist', 'workflow-bundle.js');
  const workers = [
    await Worker.create({ connection, taskQueue: TASK_QUEUES.control, workflowBundle: { codePath } }),
    await Worker.create({ connection, taskQueue: TASK_QUEUES.cpu, activities }),
    await Worker.create({ connection, taskQueue: TASK_QUEUES.gpu, activities, maxConcurrentActivityTaskExecutions: 1 }),
  ];
  const running = workers.map((worker) => worker.run());
  const start = (spec: QuantizationSpecInput, workflowId: string) =>
    client.workflow.start('quantizeModel', { taskQueue: TASK_QUEUES.control, workflowId, args: [spec] });
  return {
    client,
    directory,
    store,
    log,
    output: (name) => join(directory, name),
    start,
    run: async (spec, id) => (await start(spec, id)).result() as Promise<JobResult>,
    async stop() {
      for (const worker of workers) worker.shutdown();
      await Promise.all(running);
      await environment.teardown();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
