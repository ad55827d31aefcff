import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parse as parseYaml } from 'yaml';
import { TASK_QUEUES } from '../../engine/spec';
import { freePort } from '../../workers/metrics/free-port';
import { readWorkerSettings } from '../../workers/settings';
import { shutdownTimes } from '../../workers/shutdown';
import { type ComposeFile, type ComposeService, composeReader } from '../support/compose-file';
import { readDockerfile } from '../support/dockerfile';
import { FIRST_BUILD_MS } from '../support/go-program';
import { startJobStack } from '../support/job-stack';
import { knownEnvironment } from '../support/known-environment';
import { findPrometheus } from '../support/prometheus';
import { runCli } from '../support/run-cli';
import { findVersitygw } from '../support/versitygw';

const DEPLOY = join(__dirname, '..', '..', 'deploy');
const FILE = join(DEPLOY, 'docker-compose.yml');

let read: (...paths: string[]) => ComposeFile;
let file: ComposeFile;
let directory: string;

beforeAll(async () => {
  read = await composeReader();
  file = read(FILE);
  directory = mkdtempSync(join(tmpdir(), 'quantloom-compose-'));
}, FIRST_BUILD_MS);

afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

function service(name: string): ComposeService {
  return file.services[name] as ComposeService;
}

/** Services that run our program, the command line among them. */
function ours(): [string, ComposeService][] {
  return Object.entries(file.services).filter(([, { image }]) => image.startsWith('quantloom:'));
}

test.each([
  ['a word that is not of the language', 'restart: unless-stopped', 'restrat: unless-stopped', 'restrat'],
  ['a command that is no text', 'command: [worker, --queue, cpu]', 'command: [worker, { queue: cpu }]', 'cpu.command'],
  ['a condition that there is not', 'condition: service_healthy', 'condition: service_health', 'depends_on'],
])('the reader refuses %s', (_, right, wrong, named) => {
  const broken = join(directory, 'broken.yml');
  const text = readFileSync(FILE, 'utf8');
  expect(text).toContain(right);
  writeFileSync(broken, text.replace(right, wrong));
  expect(() => read(broken)).toThrow(named);
});

test('one worker for each queue, and a command line, all of the image that the Dockerfile makes', () => {
  expect(
    ours()
      .map(([name]) => name)
      .sort(),
  ).toEqual(['cli', ...Object.keys(TASK_QUEUES)].sort());
  const stages = readDockerfile(join(DEPLOY, 'Dockerfile')).map(({ name }) => name);
  for (const [name, { build, command }] of ours()) {
    expect(join(build?.context as string, build?.dockerfile as string)).toBe(join(DEPLOY, 'Dockerfile'));
    expect(stages).toContain(build?.target);
    expect(command ?? null).toEqual(name === 'cli' ? null : ['worker', '--queue', name]);
  }
});

test('sets only variables that are read, to values that are taken, and mounts what is written', () => {
  const known = knownEnvironment();
  // As the image has them.
  const image = { QUANTLOOM_HOME: '/var/lib/quantloom', QUANTLOOM_CACHE: '/var/cache/quantloom' };
  for (const [name, { environment = {}, volumes = [], tmpfs = [], read_only }] of ours()) {
    expect(Object.keys(environment).filter((variable) => !known.has(variable))).toEqual([]);
    const { home, store, sources, metrics } = readWorkerSettings({ ...image, ...environment });
    expect(store.location).toBe('s3://quantloom/store');
    expect(metrics).toEqual(name === 'cli' ? null : { host: '0.0.0.0', port: 9464 });
    const mounts = [...volumes.map(({ target }) => target), ...tmpfs.map((mount) => mount.split(':')[0] as string)];
    for (const path of [home, store.cache.directory, sources.models, '/tmp'])
      expect([name, path, mounts.some((mount) => `${path}/`.startsWith(`${mount}/`))]).toEqual([name, path, true]);
    expect(read_only).toBe(true);
  }
});

test('gives workers the time that they take to end, and no rights', () => {
  const { shutdownForceTime } = shutdownTimes(readWorkerSettings({}).shutdownGraceSeconds);
  for (const [, { stop_grace_period, cap_drop, security_opt }] of ours()) {
    expect(1000 * Number.parseInt(stop_grace_period as string, 10)).toBeGreaterThan(Number(shutdownForceTime));
    expect({ cap_drop, security_opt }).toEqual({ cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] });
  }
});

test('services ask for services and volumes that are declared', () => {
  for (const { depends_on = {}, volumes = [] } of Object.values(file.services)) {
    expect(Object.keys(file.services)).toEqual(expect.arrayContaining(Object.keys(depends_on)));
    const named = volumes.filter(({ type }) => type === 'volume').map(({ source }) => source);
    expect(Object.keys(file.volumes)).toEqual(expect.arrayContaining(named));
  }
});

test('every image has a version, every port is open on this machine only, every file that is mounted exists', () => {
  for (const [name, { image, ports = [], volumes = [] }] of Object.entries(file.services)) {
    expect([name, image]).toEqual([name, expect.stringMatching(/:v?\d[\w.-]*$/)]);
    for (const port of ports) expect([name, port.host_ip]).toEqual([name, '127.0.0.1']);
    for (const { type, source, read_only } of volumes)
      if (type === 'bind') expect([source, existsSync(source), read_only]).toEqual([source, true, true]);
  }
});

test('the worker on a GPU has the image with CUDA, and one device', () => {
  const { services } = read(FILE, join(DEPLOY, 'docker-compose.cuda.yml'));
  const { gpu, cpu } = services as Record<string, ComposeService>;
  expect([gpu?.image, gpu?.build?.target, gpu?.command]).toEqual([
    'quantloom-cuda:0.1.0',
    'cuda',
    service('gpu').command,
  ]);
  // What two files say of a service is a list of NAME=VALUE.
  const told = Object.entries({ ...service('gpu').environment, QUANTLOOM_DEVICE: 'cuda:0' });
  const merged = gpu?.environment as unknown as string[];
  expect([...merged].sort()).toEqual(told.map(([name, value]) => `${name}=${value}`).sort());
  expect(knownEnvironment()).toContain('QUANTLOOM_DEVICE');
  expect(gpu?.deploy).toMatchObject({ resources: { reservations: { devices: [{ driver: 'nvidia', count: 1 }] } } });
  expect(cpu).toEqual(service('cpu'));
});

/** Puts what a service mounts where it expects it, under a directory of ours. */
function layOut(name: string): string {
  const root = join(directory, name);
  for (const { type, source, target } of service(name).volumes ?? []) {
    if (type !== 'bind') continue;
    mkdirSync(dirname(join(root, target)), { recursive: true });
    cpSync(source, join(root, target), { recursive: true });
  }
  return root;
}

test('Prometheus takes its configuration and rules, and scrapes the workers under the name that rules ask for', async () => {
  const { promtool } = await findPrometheus();
  const place = join(layOut('prometheus'), 'etc', 'prometheus');
  const { status, stdout, stderr } = spawnSync(promtool, ['check', 'config', join(place, 'prometheus.yml')], {
    encoding: 'utf8',
  });
  expect([status, status === 0 ? '' : stdout + stderr]).toEqual([0, '']);
  expect(stdout).toMatch(/\d+ rules found[\s\S]*\d+ rules found/);
  const { scrape_configs } = parseYaml(readFileSync(join(place, 'prometheus.yml'), 'utf8'));
  expect(scrape_configs).toMatchObject([
    { job_name: 'quantloom', dns_sd_configs: [{ names: Object.keys(TASK_QUEUES), port: 9464 }] },
  ]);
});

test('Grafana finds its dashboards, and Prometheus', () => {
  const root = layOut('grafana');
  const provisioning = join(root, 'etc', 'grafana', 'provisioning');
  const { providers } = parseYaml(readFileSync(join(provisioning, 'dashboards', 'quantloom.yml'), 'utf8'));
  expect(existsSync(join(root, providers[0].options.path, 'fleet.json'))).toBe(true);
  const { datasources } = parseYaml(readFileSync(join(provisioning, 'datasources', 'prometheus.yml'), 'utf8'));
  const [, variable] = /^\$\{(\w+)\}$/.exec(datasources[0].url) ?? [];
  expect(service('grafana').environment?.[variable as string]).toBe('http://prometheus:9090');
});

test('a worker is healthy while it is ready', async () => {
  const { test: words } = service('cpu').healthcheck as { test: string[] };
  let ready = true;
  const server = createServer((request, response) => {
    response.writeHead(request.url === '/readyz' && ready ? 200 : 503).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const check = async () => {
    const child = spawn(
      words[1] as string,
      words.slice(2).map((word) => word.replace(':9464/', `:${port}/`)),
    );
    return (await once(child, 'exit'))[0];
  };
  expect(await check()).toBe(0);
  ready = false;
  expect(await check()).toBe(1);
  server.close();
  server.closeAllConnections();
  expect(await check()).toBe(1);
});

test('the object server has the bucket that workers ask for', async () => {
  const { entrypoint, environment, healthcheck } = service('objects');
  const port = await freePort();
  const data = join(directory, 'objects');
  const line = ((entrypoint as string[])[2] ?? '')
    .replaceAll('/data', data)
    .replace('exec versitygw', `exec ${await findVersitygw()}`)
    .replace('--port :7070', `--port 127.0.0.1:${port}`);
  const server: ChildProcess = spawn('sh', ['-c', line], { stdio: 'ignore', env: { ...process.env, ...environment } });
  try {
    const page = healthcheck?.test.at(-1)?.replace(':7070', `:${port}`) as string;
    for (let attempt = 0; attempt < 200; attempt++) {
      if (
        await fetch(page).then(
          ({ ok }) => ok,
          () => false,
        )
      )
        break;
      await delay(50);
    }
    const endpoint = `http://127.0.0.1:${port}`;
    const told = { ...service('cpu').environment, QUANTLOOM_S3_ENDPOINT: endpoint, TEMPORAL_ADDRESS: '' };
    const home = join(directory, 'home');
    mkdirSync(home);
    const { code, stderr } = await runCli(['gc', '--older-than', '1d'], {
      home,
      workingDirectory: home,
      environment: told,
    });
    expect([code, code === 0 ? '' : stderr]).toEqual([0, '']);
  } finally {
    server.kill('SIGKILL');
  }
}, 60_000);

test('the namespace is made where there is none, and left alone where there is one', async () => {
  const stack = await startJobStack({ workers: [] });
  try {
    const programs = join(directory, 'programs');
    mkdirSync(programs);
    symlinkSync(process.env.QUANTLOOM_TEMPORAL_CLI as string, join(programs, 'temporal'));
    const { environment = {}, entrypoint, volumes = [] } = service('temporal-namespace');
    const script = join(volumes[0]?.source as string, (entrypoint as string[])[1]?.slice('/compose/'.length) ?? '');
    const environmentOf = (namespace: string) => ({
      ...{ PATH: `${programs}:${process.env.PATH}`, HOME: directory },
      ...{ ...environment, TEMPORAL_ADDRESS: stack.address, NAMESPACE: namespace },
    });
    for (const namespace of ['default', 'fresh', 'fresh']) {
      const { status, stderr } = spawnSync('sh', [script], { env: environmentOf(namespace), encoding: 'utf8' });
      expect([namespace, status, status === 0 ? '' : stderr]).toEqual([namespace, 0, '']);
    }
    const { namespaceInfo, config } = await stack.client.workflowService.describeNamespace({ namespace: 'fresh' });
    expect([namespaceInfo?.name, Number(config?.workflowExecutionRetentionTtl?.seconds)]).toEqual([
      'fresh',
      30 * 86_400,
    ]);
  } finally {
    await stack.stop();
  }
}, 120_000);
