import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import type { Client, WorkflowHandleWithFirstExecutionRunId } from '@temporalio/client';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import {
  type JobResult,
  PROGRESS_QUERY,
  type Progress,
  type QuantizationSpecInput,
  type QueueName,
  TASK_QUEUES,
} from '../../engine/spec';

const WORKER_MAIN = join(__dirname, '..', '..', 'dist', 'workers', 'main.js');

/** A line of a worker's log: `computed`, `cached`, `recomputing` ... */
export interface LogEvent {
  readonly pid: number;
  readonly event: string;
  readonly step?: string;
  readonly key?: string;
}

/** A real Temporal server, and one real worker process per queue. */
export interface JobStack {
  readonly client: Client;
  /** Of the Temporal server. */
  readonly address: string;
  readonly directory: string;
  readonly storeDirectory: string;
  /** What all workers have logged so far. */
  readonly log: readonly LogEvent[];
  /** A path for an output. */
  output(name: string): string;
  start(spec: QuantizationSpecInput, id: string): Promise<WorkflowHandleWithFirstExecutionRunId>;
  /** @throws Error when the job waits for an operator: nobody would come. */
  run(spec: QuantizationSpecInput, id: string): Promise<JobResult>;
  startWorker(queue: QueueName, environment?: Readonly<Record<string, string>>): Promise<ChildProcess>;
  stop(): Promise<void>;
}

export async function startJobStack({
  serverArguments = [],
  workers: queues = ['control', 'cpu', 'gpu'],
  environment: workerEnvironment = {},
}: {
  readonly serverArguments?: readonly string[];
  readonly workers?: readonly QueueName[];
  /** Of the workers. */
  readonly environment?: Readonly<Record<string, string>>;
} = {}): Promise<JobStack> {
  const path = process.env.QUANTLOOM_TEMPORAL_CLI;
  if (!path) throw new Error('no Temporal CLI: see the message of the global set-up above');
  const directory = await mkdtemp(join(tmpdir(), 'quantloom-job-'));
  const storeDirectory = join(directory, 'store');
  const environment = await TestWorkflowEnvironment.createLocal({
    server: {
      executable: { type: 'existing-path', path },
      extraArgs: [...serverArguments],
      log: { format: 'pretty', level: 'never' },
    },
  });
  const { client, address } = environment;
  const log: LogEvent[] = [];
  const workers: ChildProcess[] = [];

  const startWorker: JobStack['startWorker'] = async (queue, ownEnvironment) => {
    const worker = spawn(process.execPath, [WORKER_MAIN, '--queue', queue], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: {
        ...process.env,
        TEMPORAL_ADDRESS: address,
        QUANTLOOM_HOME: directory,
        QUANTLOOM_STORE: storeDirectory,
        QUANTLOOM_THREADS: '2',
        ...workerEnvironment,
        ...ownEnvironment,
      },
    });
    workers.push(worker);
    createInterface({ input: worker.stderr }).on('line', (line) => {
      if (line.startsWith('{')) log.push(JSON.parse(line) as LogEvent);
    });
    await once(worker.stdout, 'data');
    return worker;
  };
  // The first registers the search attributes.
  for (const queue of queues) await startWorker(queue);

  const start = (spec: QuantizationSpecInput, workflowId: string) =>
    client.workflow.start('quantizeModel', { taskQueue: TASK_QUEUES.control, workflowId, args: [spec] });
  return {
    client,
    address,
    directory,
    storeDirectory,
    log,
    output: (name) => join(directory, name),
    start,
    run: async (spec, id) => resultOrReview(await start(spec, id)),
    startWorker,
    async stop() {
      await Promise.all(workers.map(endWorker));
      await environment.teardown();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function resultOrReview(job: WorkflowHandleWithFirstExecutionRunId): Promise<JobResult> {
  const watching = new AbortController();
  try {
    return await Promise.race([job.result() as Promise<JobResult>, reviewOf(job, watching.signal)]);
  } finally {
    watching.abort();
  }
}

/** Fails when the job needs a review, or its end has come otherwise. */
async function reviewOf(job: WorkflowHandleWithFirstExecutionRunId, signal: AbortSignal): Promise<never> {
  for (;;) {
    await delay(2000, undefined, { signal });
    const progress = await job.query<Progress>(PROGRESS_QUERY).catch(() => null);
    if (progress?.needsReview) throw new Error(`${job.workflowId}: ${JSON.stringify(progress.needsReview)}`);
  }
}

async function endWorker(worker: ChildProcess): Promise<void> {
  if (worker.exitCode !== null || worker.signalCode !== null) return;
  worker.stdin?.end();
  await once(worker, 'exit');
}
