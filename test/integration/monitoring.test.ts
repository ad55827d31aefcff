import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../../workers/metrics/free-port';
import { demoSpec } from '../support/demo-spec';
import { type JobStack, startJobStack } from '../support/job-stack';
import { findPrometheus } from '../support/prometheus';

const DEPLOY = join(__dirname, '..', '..', 'deploy');
const RULES = join(DEPLOY, 'prometheus');
const DASHBOARDS = join(DEPLOY, 'grafana', 'dashboards');

/** Expressions that stand for an alert's: without the bound that makes it one. */
function withoutThresholds(expression: string): string {
  return expression.replace(/ (?:[<>]=?|==) [\d.]+\s*$/gm, '').replace(/ (?:[<>]=?) [\d.]+\n/g, '\n');
}

let stack: JobStack;
let prometheus: ChildProcess;
let directory: string;
let address: string;

beforeAll(async () => {
  const programs = await findPrometheus();
  directory = await mkdtemp(join(tmpdir(), 'quantloom-prometheus-'));
  stack = await startJobStack({ workers: [] });
  for (const queue of ['control', 'cpu', 'gpu'] as const)
    await stack.startWorker(queue, { QUANTLOOM_METRICS_ADDRESS: '127.0.0.1:0' });
  await delay(500);
  const pages = stack.log.flatMap((line) =>
    line.event === 'metrics' ? [new URL((line as { page?: string }).page as string).host] : [],
  );
  expect(pages).toHaveLength(3);
  await cp(RULES, directory, { recursive: true });
  await mkdir(join(directory, 'targets'));
  await writeFile(join(directory, 'targets', 'workers.yml'), JSON.stringify([{ targets: pages }]));
  const config = await readFile(join(directory, 'prometheus.yml'), 'utf8');
  await writeFile(join(directory, 'prometheus.yml'), config.replaceAll('15s', '1s'));
  const port = await freePort();
  address = `http://127.0.0.1:${port}`;
  const flags = [
    `--config.file=${join(directory, 'prometheus.yml')}`,
    `--storage.tsdb.path=${join(directory, 'data')}`,
  ];
  prometheus = spawn(programs.prometheus, [...flags, `--web.listen-address=127.0.0.1:${port}`], { stdio: 'ignore' });
  for (let attempt = 0; attempt < 200; attempt++) {
    if (
      await fetch(`${address}/-/ready`).then(
        ({ ok }) => ok,
        () => false,
      )
    )
      break;
    await delay(100);
  }
  await stack.run(demoSpec(stack.output('out')), 'watched');
  await stack.run(demoSpec(stack.output('again')), 'again');
  await delay(3_000);
}, 600_000);

afterAll(async () => {
  if (prometheus?.exitCode === null) {
    prometheus.kill();
    await once(prometheus, 'exit');
  }
  await stack?.stop();
  if (directory) await rm(directory, { recursive: true, force: true });
}, 60_000);

/** How many series an expression had at any time of the run. */
async function seriesOf(expression: string): Promise<number> {
  const end = Date.now() / 1000;
  const query = new URLSearchParams({ query: expression, start: String(end - 120), end: String(end), step: '1' });
  const answer = await fetch(`${address}/api/v1/query_range?${query}`);
  const { status, error, data } = (await answer.json()) as {
    status: string;
    error?: string;
    data: { result: { values: [number, string][] }[] };
  };
  if (status !== 'success') throw new Error(`${expression}: ${error}`);
  return data.result.filter(({ values }) => values.some(([, value]) => value !== 'NaN')).length;
}

test('every panel of every dashboard has data', async () => {
  const empty: string[] = [];
  let expressions = 0;
  for (const file of await readdir(DASHBOARDS)) {
    const { panels, templating } = JSON.parse(await readFile(join(DASHBOARDS, file), 'utf8'));
    expect(templating.list.every(({ query }: { query: string }) => query.startsWith('label_values('))).toBe(true);
    for (const { title, targets } of panels) {
      for (const { expr } of targets) {
        expressions += 1;
        if ((await seriesOf(expr.replaceAll('$workflow_id', '.*'))) === 0) empty.push(`${file}, ${title}: ${expr}`);
      }
    }
  }
  expect(empty).toEqual([]);
  expect(expressions).toBeGreaterThan(30);
}, 120_000);

test('every rule is loaded, well, and every alert has something to compare', async () => {
  const answer = await fetch(`${address}/api/v1/rules`);
  const { data } = (await answer.json()) as {
    data: { groups: { rules: { type: string; name: string; query: string; health: string; lastError?: string }[] }[] };
  };
  const rules = data.groups.flatMap((group) => group.rules);
  expect(rules.filter(({ health }) => health !== 'ok')).toEqual([]);
  expect(rules.filter(({ type }) => type === 'alerting')).toHaveLength(9);
  const empty: string[] = [];
  for (const { type, name, query } of rules) {
    const expression = type === 'recording' ? name : withoutThresholds(query.replace(/ < 1 or /g, ' or '));
    if ((await seriesOf(expression)) === 0) empty.push(`${name}: ${expression}`);
  }
  expect(empty).toEqual([]);
}, 60_000);

test('nothing is wrong with a run that went well', async () => {
  const answer = await fetch(`${address}/api/v1/alerts`);
  const { data } = (await answer.json()) as { data: { alerts: { labels: { alertname: string }; state: string }[] } };
  expect(data.alerts.filter(({ state }) => state === 'firing')).toEqual([]);
});

test('promtool finds rules and configuration sound, and alerts fire when they should', async () => {
  const { promtool } = await findPrometheus();
  const run = (...args: string[]) => spawnSync(promtool, args, { cwd: RULES, encoding: 'utf8' });
  for (const args of [
    ['check', 'config', 'prometheus.yml'],
    ['test', 'rules', 'alert-rules.test.yml'],
  ]) {
    const { status, stdout, stderr } = run(...args);
    expect({ args, status, output: status === 0 ? '' : stdout + stderr }).toEqual({ args, status: 0, output: '' });
  }
}, 60_000);

test('every alert has its page', async () => {
  const rules = await readFile(join(RULES, 'alert-rules.yml'), 'utf8');
  const page = await readFile(join(DEPLOY, '..', 'docs', 'operations.md'), 'utf8');
  const names = [...rules.matchAll(/alert: (\w+)/g)].map(([, name]) => name as string);
  expect(names.filter((name) => !page.includes(`### ${name}\n`))).toEqual([]);
  expect(names.filter((name) => !rules.includes(`runbook: docs/operations.md#${name.toLowerCase()}\n`))).toEqual([]);
});

test('dashboards are what their tables make', () => {
  const { status, stdout } = spawnSync(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { dashboardFiles } from ${JSON.stringify(join(DEPLOY, 'grafana', 'build-dashboards.mjs'))}; process.stdout.write(JSON.stringify(dashboardFiles()))`,
    ],
    { encoding: 'utf8' },
  );
  expect(status).toBe(0);
  const files = JSON.parse(stdout) as Record<string, string>;
  return Promise.all(
    Object.entries(files).map(async ([name, text]) =>
      expect(JSON.parse(await readFile(join(DASHBOARDS, name), 'utf8'))).toEqual(JSON.parse(text)),
    ),
  );
});
