import { type ChildProcess, execFile } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { demoSpec } from '../support/demo-spec';
import { type JobStack, startJobStack } from '../support/job-stack';
import { runCli } from '../support/run-cli';
import { shortDemo } from '../support/short-demo';
import { FIRST_FETCH_MS, HAS_WEBGPU, softwareVulkan } from '../support/software-vulkan';
import type { StagesOnDevice } from '../support/stages-on-device';
import { weightDigests } from '../support/weight-files';
import { TINY_MODELS } from '../tiny-models';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

const run = promisify(execFile);

describe('a device that is asked for by name and is not there', () => {
  it('ends the worker when it starts, which says why, what there is, and what to install', async () => {
    const home = await mkdtemp(join(tmpdir(), 'quantloom-device-'));
    // More GPUs than a machine has.
    const { code, stderr } = await runCli(['worker', '--queue', 'gpu', '--device', 'cuda:63'], {
      home,
      workingDirectory: home,
      environment: { TEMPORAL_ADDRESS: '127.0.0.1:1' },
    });
    expect(code).toBe(1);
    const line = stderr.split('\n').find((line) => line.includes('worker-failed')) ?? '{}';
    expect(JSON.parse(line)).toMatchObject({
      code: 'DeviceUnavailable',
      error: expect.stringMatching(
        /^Device cuda:63 cannot be used: .+\. There (is|are) .*cpu\. cuda:63 needs .*ONNXRUNTIME_NODE_INSTALL=cuda12.*Or choose another with --device/,
      ),
    });
  }, 60_000);

  it.each([
    [['--queue', 'gpu', '--device', 'gpu0'], '--device is "gpu0"; it must be cpu, webgpu, cuda:N'],
    [['--queue', 'cpu', '--device', 'cuda:0'], '--device is for --queue gpu: a worker of cpu computes on the CPU.'],
  ])('%j is wrong use', async (flags, message) => {
    const home = await mkdtemp(join(tmpdir(), 'quantloom-device-'));
    const place = { home, workingDirectory: home, environment: { TEMPORAL_ADDRESS: '127.0.0.1:1' } };
    const { code, stderr } = await runCli(['worker', ...flags], place);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(message) });
  });
});

const onWebGpu = HAS_WEBGPU ? describe : () => undefined;

onWebGpu('the device webgpu, by a Vulkan driver in software', () => {
  let vulkan: Record<string, string>;
  let stack: JobStack;

  beforeAll(async () => {
    vulkan = await softwareVulkan();
    stack = await startJobStack({ workers: ['control', 'cpu'] });
  }, FIRST_FETCH_MS);

  afterAll(() => stack?.stop(), 60_000);

  const slicesComputed = ({ pid }: ChildProcess) =>
    stack.log.filter((line) => line.pid === pid && line.event === 'computed' && line.step === 'calibrate-slice').length;

  it('computes the stages of every architecture as transformers does', async () => {
    const script = join(__dirname, '..', 'support', 'stages-on-device.ts');
    const words = ['-r', join(__dirname, '..', 'run-typescript.cjs'), script, 'webgpu', ...TINY_MODELS];
    const { stdout } = await run(process.execPath, words, { env: { ...process.env, ...vulkan } });
    const found = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as StagesOnDevice);
    expect(found.map(({ model }) => model)).toEqual([...TINY_MODELS]);
    const all = found.flatMap(({ model, differences }) =>
      Object.entries(differences).map(([stage, difference]) => ({ stage: `${model} ${stage}`, difference })),
    );
    expect(all.length).toBeGreaterThan(100);
    expect(all.filter(({ difference }) => !(difference < 1e-5))).toEqual([]);
  }, 120_000);

  it('quantizes as well as the CPU does, under keys of its own', async () => {
    const worker = await stack.startWorker('gpu', {
      ...vulkan,
      QUANTLOOM_DEVICE: 'auto',
      QUANTLOOM_METRICS_ADDRESS: '127.0.0.1:0',
    });
    const chosen = stack.log.find(({ event }) => event === 'device') as unknown as Record<string, unknown>;
    expect(chosen).toMatchObject({ asked: 'auto', device: expect.stringMatching(/^(webgpu|cuda:0)$/) });
    if (chosen.device === 'webgpu') expect(Object.keys(chosen.notThere as object)).toEqual(['cuda:0']);
    const { page } = stack.log.find(({ event }) => event === 'metrics') as unknown as { page: string };
    const metrics = await (await fetch(page)).text();
    expect(metrics).toMatch(new RegExp(`quantloom_worker_info{[^}]*device="${chosen.device}"[^}]*} 1`));

    const spec = demoSpec(stack.output('device'), { model: await shortDemo(stack.directory) });
    const result = await stack.run(spec, 'on-a-device');
    const layer = stack.client.workflow.getHandle('on-a-device/layer-0');
    const { events = [] } = await layer.fetchHistory();
    const identities = new Set(events?.map((event) => event.activityTaskStartedEventAttributes?.identity));
    expect(identities).toContain(`gpu-${String(chosen.device).replace(':', '')}:${worker.pid}@${hostname()}`);

    // The store is the same, the keys are not: on the CPU all of it is computed, with the CPU's bytes.
    worker.kill('SIGTERM');
    const cpu = await stack.startWorker('gpu');
    const onCpu = { ...spec, output: stack.output('cpu') };
    const { meanRelativeError } = await stack.run(onCpu, 'on-the-cpu');
    await quantizeDirect({ ...spec, output: stack.output('direct') });
    expect(await weightDigests(onCpu.output)).toEqual(await weightDigests(stack.output('direct')));
    expect(slicesComputed(cpu)).toBe(slicesComputed(worker));
    const ratio = (result.meanRelativeError as number) / (meanRelativeError as number);
    expect(Math.abs(ratio - 1)).toBeLessThan(0.01);
  }, 300_000);
});
