import { spawnSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { demoSpec } from '../support/demo-spec';
import { type JobStack, startJobStack } from '../support/job-stack';
import { findPrometheus } from '../support/prometheus';

let stack: JobStack;
/** By queue: the address of the worker's page. */
const pages: Record<string, string> = {};

beforeAll(async () => {
  stack = await startJobStack({ workers: [] });
  for (const queue of ['control', 'cpu', 'gpu'] as const) {
    const before = stack.log.length;
    await stack.startWorker(queue, { QUANTLOOM_METRICS_ADDRESS: '127.0.0.1:0' });
    const told = async () =>
      stack.log.slice(before).find(({ event }) => event === 'metrics') as { page?: string } | undefined;
    for (let attempt = 0; attempt < 100 && !(await told()); attempt++) await delay(50);
    pages[queue] = (await told())?.page as string;
  }
}, 120_000);

afterAll(() => stack?.stop(), 60_000);

async function textOf(queue: string, path = '/metrics'): Promise<{ status: number; text: string }> {
  const answer = await fetch(new URL(path, pages[queue]));
  return { status: answer.status, text: await answer.text() };
}

/** Samples of a page: by name with labels as they stand there. */
async function samplesOf(queue: string): Promise<Map<string, number>> {
  const lines = (await textOf(queue)).text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  );
}

function sumOf(samples: Map<string, number>, name: string, ...labels: string[]): number {
  let sum = 0;
  for (const [series, value] of samples) {
    if (series.startsWith(`${name}{`) && labels.every((label) => series.includes(label))) sum += value;
  }
  return sum;
}

test('a job is seen while it runs, and what it has done afterwards', async () => {
  const job = await stack.start(demoSpec(stack.output('out')), 'watched');
  const seen: number[] = [];
  let ended = false;
  const ending = job.result().finally(() => {
    ended = true;
  });
  while (!ended) {
    const progress = [...(await samplesOf('control'))].find(([series]) =>
      series.startsWith('quantloom_job_progress_ratio{'),
    );
    if (progress) {
      expect(progress[0]).toContain('workflow_id="watched"');
      seen.push(progress[1]);
    }
    await delay(500);
  }
  await ending;
  expect(seen.length).toBeGreaterThan(0);
  expect(seen).toEqual([...seen].sort((a, b) => a - b));

  const [cpu, gpu] = [await samplesOf('cpu'), await samplesOf('gpu')];
  const events = (name: string, step?: string) =>
    stack.log.filter(({ event, step: of }) => event === name && (step === undefined || of === step)).length;
  // The log is another account of the same.
  expect(sumOf(gpu, 'quantloom_steps_total', 'result="computed"', 'step="calibrate-slice"')).toBe(
    events('computed', 'calibrate-slice'),
  );
  expect(
    sumOf(cpu, 'quantloom_steps_total', 'result="computed"') + sumOf(gpu, 'quantloom_steps_total', 'result="computed"'),
  ).toBe(events('computed'));
  // 8 samples of 64 tokens pass each stage of 4 layers; of the original model a part of them once more.
  expect(sumOf(gpu, 'quantloom_stage_tokens_total', 'stage="attention"')).toBeGreaterThanOrEqual(4 * 8 * 64);
  expect(sumOf(gpu, 'quantloom_stage_flops_total')).toBeGreaterThan(1e8);
  expect(sumOf(cpu, 'quantloom_damping_rungs_total', 'rung="as-asked"')).toBe(28);
  expect(sumOf(cpu, 'quantloom_quantization_relative_error_count', 'linear="down_proj"')).toBe(4);
  expect(sumOf(cpu, 'quantloom_hessian_condition_count', 'linear="down_proj"')).toBe(4);
  expect(sumOf(cpu, 'quantloom_hessian_condition_bucket', 'linear="down_proj"', 'le="1"')).toBe(0);
  expect(sumOf(cpu, 'quantloom_hessian_condition_bucket', 'linear="down_proj"', 'le="1000000"')).toBe(4);
  expect(sumOf(gpu, 'quantloom_store_bytes_total', 'direction="in"')).toBeGreaterThan(1e6);
  expect(sumOf(gpu, 'quantloom_store_bytes_total', 'direction="out"')).toBeGreaterThan(1e6);
  expect(sumOf(cpu, 'quantloom_activity_seconds_count', 'activity="packLayer"', 'outcome="computed"')).toBe(5);
  expect(sumOf(cpu, 'temporal_worker_task_slots_available', 'worker_type="ActivityWorker"')).toBe(2);
}, 180_000);

test('what is found in the store is counted apart, and a job that has ended is gone from the page', async () => {
  await stack.run(demoSpec(stack.output('again')), 'again');
  const cpu = await samplesOf('cpu');
  expect(sumOf(cpu, 'quantloom_steps_total', 'result="cached"')).toBe(
    stack.log.filter(({ event, step }) => event === 'cached' && !['calibrate-slice', 'evaluate'].includes(step ?? ''))
      .length,
  );
  await delay(5_500);
  const control = await samplesOf('control');
  expect([...control.keys()].filter((series) => series.includes('workflow_id="'))).toEqual([]);
  expect(sumOf(control, 'quantloom_jobs')).toBe(0);
}, 120_000);

test.each(['control', 'cpu', 'gpu'])(
  'the page of the %s worker is what Prometheus reads',
  async (queue) => {
    const { promtool } = await findPrometheus();
    const { text } = await textOf(queue);
    const { stderr, stdout } = spawnSync(promtool, ['check', 'metrics'], { input: text, encoding: 'utf8' });
    // The names of Temporal's SDK and of Node's are not ours.
    const complaints = `${stdout}${stderr}`
      .split('\n')
      .filter((line) => line.startsWith('quantloom_') || /error/i.test(line));
    expect(complaints).toEqual([]);
    expect(text).toContain('temporal_long_request');
  },
  300_000,
);

test('health and readiness: 200 while it works, and nothing else is served', async () => {
  for (const queue of ['control', 'cpu', 'gpu']) {
    expect({ queue, ...(await textOf(queue, '/healthz')) }).toEqual({ queue, status: 200, text: 'ok\n' });
    expect({ queue, ...(await textOf(queue, '/readyz')) }).toEqual({ queue, status: 200, text: 'ok\n' });
    expect((await textOf(queue, '/other')).status).toBe(404);
  }
});
