import { execFile } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { asActivity } from '../../activities/as-activity';
import type { ActivityRuntime, Attempt } from '../../activities/runtime';
import { openFileStore } from '../../engine/store';
import { receivedError } from '../../engine/tensor-thread/thread-error';
import { SEQUENCE_LENGTH, SEQUENCES, type StageWithinMemory } from '../support/stage-within-memory';

const run = promisify(execFile);
const ALL = SEQUENCES * SEQUENCE_LENGTH;
/** Enough for eight sequences at once, far too little for all. */
const MEBIBYTES = 180;

/** A stage in a process of its own with little memory to be had, where onnxruntime's allocations really fail. */
async function stageWithin(mebibytes: number, batchTokens: number): Promise<StageWithinMemory> {
  const words = ['-r', join(__dirname, '..', 'run-typescript.cjs')];
  const script = join(__dirname, '..', 'support', 'stage-within-memory.ts');
  const { stdout } = await run(process.execPath, [...words, script, String(batchTokens), String(mebibytes)]);
  return JSON.parse(stdout) as StageWithinMemory;
}

const onLinux = process.platform === 'linux' ? describe : () => undefined;

onLinux('a stage that runs out of memory', () => {
  let environment: TestWorkflowEnvironment;
  let runtime: ActivityRuntime;
  let whole: StageWithinMemory;

  beforeAll(async () => {
    Runtime.install({ logger: new DefaultLogger('ERROR') });
    const path = process.env.QUANTLOOM_TEMPORAL_CLI as string;
    const log = { format: 'pretty', level: 'never' } as const;
    environment = await TestWorkflowEnvironment.createLocal({
      server: { executable: { type: 'existing-path', path }, log },
    });
    const storeDirectory = await mkdtemp(join(tmpdir(), 'quantloom-memory-'));
    runtime = { store: await openFileStore(storeDirectory), storeDirectory, threads: 1, log: () => undefined };
    whole = await stageWithin(0, ALL);
  }, 120_000);

  afterAll(() => environment?.teardown(), 60_000);

  it('says so by its own name, and how much was at once', async () => {
    const { error } = await stageWithin(MEBIBYTES, ALL);
    expect(receivedError(error)).toMatchObject({
      code: 'DeviceOutOfMemory',
      retryable: true,
      message: 'Stage "mlp" ran out of memory with 64 sequences of 512 tokens at once; fewer at once may do.',
      options: { details: { stage: 'mlp', sequences: 64, sequenceLength: 512 } },
    });
  }, 60_000);

  it('is tried again with half the batch, and leaves the same activations', async () => {
    const tried: number[] = [];
    const calibrate = asActivity(runtime, async (_: null, __: ActivityRuntime, { batch }: Attempt) => {
      tried.push(batch?.batchTokens ?? ALL);
      const result = await stageWithin(MEBIBYTES, batch?.batchTokens ?? ALL);
      if (result.error) throw receivedError(result.error);
      return result;
    });
    const { client, nativeConnection: connection } = environment;
    const worker = await Worker.create({ connection, taskQueue: 'memory', activities: { calibrate } });
    const found = (await worker.runUntil(
      client.activity.execute('calibrate', {
        ...{ id: 'calibrate', taskQueue: 'memory', args: [null] },
        ...{ startToCloseTimeout: '2 minutes', heartbeatTimeout: '10 seconds' },
        retry: { initialInterval: '100 milliseconds', maximumAttempts: 4 },
      }),
    )) as StageWithinMemory;
    expect(found.product).toBe(whole.product);
    // Sums are taken per batch: equal to rounding.
    expect(Math.abs((found.trace as number) / (whole.trace as number) - 1)).toBeLessThan(1e-6);
    const halves = [ALL, ALL / 2, ALL / 4, SEQUENCE_LENGTH];
    expect(tried.length).toBeGreaterThan(1);
    expect(tried).toEqual(halves.slice(0, tried.length));
  }, 180_000);
});
