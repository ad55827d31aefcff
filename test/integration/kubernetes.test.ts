import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { parseAllDocuments, parse as parseYaml } from 'yaml';
import { AHEAD_TASK_QUEUE, TASK_QUEUES } from '../../engine/spec';
import { readWorkerSettings } from '../../workers/settings';
import { shutdownTimes } from '../../workers/shutdown';
import { FIRST_BUILD_MS } from '../support/go-program';
import { knownEnvironment } from '../support/known-environment';
import { findKubernetesTools, type KubernetesTools } from '../support/kubernetes-tools';
import { findPrometheus } from '../support/prometheus';
import { runCli } from '../support/run-cli';

const ROOT = join(__dirname, '..', '..');
const OVERLAYS = ['dev', 'cpu', 'gpu'] as const;

// biome-ignore lint/suspicious/noExplicitAny: documents whose form kubeconform has checked.
type Document = any;

let tools: KubernetesTools;
const built: Record<string, string> = {};

function documentsOf(name: string): Document[] {
  return parseAllDocuments(built[name] as string).map((document) => document.toJS());
}

function ofKind(name: string, kind: string): Document[] {
  return documentsOf(name).filter((document) => document.kind === kind);
}

/** The pods of our own workers, by queue. */
function workersOf(name: string): { queue: string; pod: Document; worker: Document; labels: Record<string, string> }[] {
  return ofKind(name, 'Deployment')
    .filter(({ metadata }) => metadata.labels['app.kubernetes.io/name'] === 'quantloom')
    .map(({ spec: { template } }) => ({
      queue: template.metadata.labels['app.kubernetes.io/component'],
      pod: template.spec,
      worker: template.spec.containers[0],
      labels: template.metadata.labels,
    }));
}

/** What a worker's environment is: settings, with the number of threads as the node would fill it in. */
function environmentOf(name: string, worker: Document): Record<string, string> {
  const [settings] = ofKind(name, 'ConfigMap');
  expect(worker.envFrom[0].configMapRef.name).toBe(settings.metadata.name);
  const { cpu } = worker.resources.limits;
  return {
    ...settings.data,
    ...Object.fromEntries(worker.env.map(({ name, value }: Document) => [name, value ?? cpu])),
  };
}

/** An overlay with a component over it, as a directory of somebody's own would have it. */
function buildWith(overlay: string, component: string, more: readonly string[] = []): string {
  const directory = mkdtempSync(join(tmpdir(), 'quantloom-kustomize-'));
  try {
    const at = (path: string) => relative(directory, join(ROOT, 'k8s', path));
    const lines = [`resources: [${at(`overlays/${overlay}`)}]`, `components: [${at(`components/${component}`)}]`];
    writeFileSync(join(directory, 'kustomization.yaml'), ['namespace: quantloom', ...lines, ...more].join('\n'));
    return tools.build(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

beforeAll(async () => {
  tools = await findKubernetesTools();
  for (const name of OVERLAYS) built[name] = tools.build(join(ROOT, 'k8s', 'overlays', name));
  built['gpu with certificates'] = buildWith('gpu', 'temporal-mtls');
  built['cpu with builds'] = buildWith('cpu', 'worker-controller', [
    'configMapGenerator:',
    '  - { name: quantloom, behavior: merge, literals: ["TEMPORAL_ADDRESS=temporal.example:7233"] }',
    'images:',
    '  - { name: quantloom, newName: registry.example/quantloom }',
  ]);
}, FIRST_BUILD_MS);

describe.each([...OVERLAYS, 'gpu with certificates'])('overlay %s', (name) => {
  test('has only what the schemas of Kubernetes and of the operators know', () => {
    expect(tools.faults(built[name] as string)).toEqual([]);
  });

  test('has a deployment for each queue, whose command the program understands', () => {
    const workers = workersOf(name);
    expect(workers.map(({ queue }) => queue).sort()).toEqual(Object.keys(TASK_QUEUES).sort());
    for (const { queue, worker } of workers) expect(worker.args).toEqual(['worker', '--queue', queue]);
  });

  test('sets only variables that are read, to values that are taken', () => {
    const known = knownEnvironment();
    for (const { worker } of workersOf(name)) {
      const environment = environmentOf(name, worker);
      expect(Object.keys(environment).filter((variable) => !known.has(variable))).toEqual([]);
      const { threads, metrics } = readWorkerSettings(environment);
      expect(threads).toBe(Number(worker.resources.limits.cpu));
      expect(metrics).toEqual({ host: '0.0.0.0', port: worker.ports[0].containerPort });
    }
  });

  test('leaves the root of workers read-only, and mounts what they write', () => {
    for (const { pod, worker } of workersOf(name)) {
      const { home, store, sources } = readWorkerSettings(environmentOf(name, worker));
      const mounts: string[] = worker.volumeMounts.map(({ mountPath }: Document) => mountPath);
      const directories = store.location.startsWith('s3://') ? [] : [store.location];
      for (const path of [home, sources.models, store.cache.directory, '/tmp', ...directories])
        expect([path, mounts.some((mount) => `${path}/`.startsWith(`${mount}/`))]).toEqual([path, true]);
      const cache = pod.volumes.find(({ name }: Document) => name === 'cache').emptyDir.sizeLimit;
      expect(Number(/^(\d+)Gi$/.exec(cache)?.[1]) * 2 ** 30).toBeGreaterThan(store.cache.bytes);
    }
  });

  test('runs every pod without privileges', () => {
    const deployments = ofKind(name, 'Deployment');
    expect(deployments.length).toBeGreaterThanOrEqual(3);
    for (const { spec } of deployments) {
      const pod = spec.template.spec;
      expect(pod).toMatchObject({
        automountServiceAccountToken: false,
        securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
      });
      for (const container of pod.containers) {
        expect(container.securityContext).toEqual({
          ...{ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
        });
        expect(container.resources.limits.memory).toBeDefined();
        expect(container.image).toMatch(/:[\d.]+$/);
      }
    }
  });

  test('gives workers the time that they take to end', () => {
    const { shutdownForceTime } = shutdownTimes(readWorkerSettings({}).shutdownGraceSeconds);
    const seconds = Number(shutdownForceTime) / 1000;
    for (const { pod, worker } of workersOf(name)) {
      expect(pod.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(seconds + 5);
      expect(worker.lifecycle).toBeUndefined();
    }
  });

  test('selects workers wherever something selects', () => {
    const all = workersOf(name).map(({ labels }) => labels);
    const selected = (matchLabels: Record<string, string>) =>
      all.filter((labels) => Object.entries(matchLabels).every(([key, value]) => labels[key] === value)).length;
    const budgets = ofKind(name, 'PodDisruptionBudget');
    expect(budgets.map(({ spec }) => selected(spec.selector.matchLabels))).toEqual([1, 1, 1]);
    for (const { spec } of ofKind(name, 'PodMonitor')) {
      expect(selected(spec.selector.matchLabels)).toBe(3);
      // Rules and dashboards ask for job="quantloom".
      expect(new Set(all.map((labels) => labels[spec.jobLabel]))).toEqual(new Set(['quantloom']));
    }
    const policies = ofKind(name, 'NetworkPolicy').map(({ metadata, spec }) => [metadata.name, spec]);
    expect(Object.fromEntries(policies)['deny-all']).toEqual({ podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
    expect(selected(Object.fromEntries(policies)['quantloom-workers'].podSelector.matchLabels)).toBe(3);
  });
});

test('commands of the manifests are commands of the program', async () => {
  for (const { worker } of workersOf('cpu')) {
    // It gets as far as looking for a server.
    const home = mkdtempSync(join(tmpdir(), 'quantloom-home-'));
    const { stderr } = await runCli(worker.args, { home, workingDirectory: home });
    rmSync(home, { recursive: true });
    expect(stderr).toContain('No server to work for');
  }
});

test.each([
  ['a misspelled field', 'readOnlyRootFilesystem: true', 'readOnlyRootFilesytem: true', 3],
  ['a list where a number belongs', 'maxUnavailable: 1', 'maxUnavailable: [1]', 3],
  ['a setting that the scaler does not know', 'targetQueueSize:', 'targetSize:', 2],
  ['a number that the autoscaler cannot read', 'threshold: "1"', 'threshold: one', 2],
  [
    'a rule without an expression',
    'expr: sum(rate(quantloom_stage_flops_total',
    'exp: sum(rate(quantloom_stage_flops_total',
    1,
  ],
  ['a kind that nobody knows', 'kind: PodMonitor', 'kind: PodMonitors', 1],
  ['a version that is gone', 'policy/v1\n', 'policy/v1beta1\n', 3],
])('the check refuses %s', (_, right, wrong, faults) => {
  const documents = (built.gpu as string).split('---\n').filter((document) => document.includes(right));
  expect(tools.faults(documents.join('---\n').replaceAll(right, wrong))).toHaveLength(faults);
});

test('the rules of the cluster are those of deploy/prometheus', async () => {
  const rules = ofKind('cpu', 'PrometheusRule');
  const names = rules.map(({ metadata }) => metadata.name.replace(/^quantloom-/, '') as string);
  expect(names.sort()).toEqual(['alert-rules', 'recording-rules']);
  for (const { metadata, spec } of rules) {
    const file = join(ROOT, 'deploy', 'prometheus', `${metadata.name.replace(/^quantloom-/, '')}.yml`);
    expect(spec).toEqual(parseYaml(readFileSync(file, 'utf8')));
  }
});

describe('autoscaling', () => {
  const queues = { cpu: [TASK_QUEUES.cpu], gpu: [TASK_QUEUES.gpu, AHEAD_TASK_QUEUE] };

  test('sees what waits in every queue that a worker polls, with the addresses of the worker', () => {
    const known = knownEnvironment();
    for (const { metadata, spec } of ofKind('gpu', 'ScaledObject')) {
      const queue = metadata.labels['app.kubernetes.io/component'] as keyof typeof queues;
      const { worker } = workersOf('gpu').find((one) => one.queue === queue) as { worker: Document };
      expect(spec.scaleTargetRef).toEqual({ name: `quantloom-${queue}`, envSourceContainerName: worker.name });
      const temporal = spec.triggers.filter(({ type }: Document) => type === 'temporal');
      expect(temporal.map(({ metadata }: Document) => metadata.taskQueue)).toEqual(queues[queue]);
      for (const { metadata } of temporal) {
        const environment = environmentOf('gpu', worker);
        expect([environment[metadata.endpointFromEnv], environment[metadata.namespaceFromEnv]]).not.toContain(
          undefined,
        );
        expect(known).toContain(metadata.apiKeyFromEnv);
      }
    }
    const scaled = ofKind('gpu', 'Deployment').filter(({ spec }) => spec.replicas === undefined);
    expect(scaled.map(({ metadata }) => metadata.name).sort()).toEqual(['quantloom-cpu', 'quantloom-gpu']);
  });

  test('asks for certificates at every trigger of Temporal where they are needed', () => {
    for (const { spec } of ofKind('gpu with certificates', 'ScaledObject'))
      for (const { type, authenticationRef } of spec.triggers)
        expect(authenticationRef).toEqual(type === 'temporal' ? { name: 'quantloom-temporal' } : undefined);
  });

  test('keeps all workers of a queue while one computes, asks for more when all are full, for none when all are idle', async () => {
    const { promtool } = await findPrometheus();
    const slots = (queue: string, pod: string, used: string, type = 'ActivityWorker') => ({
      series: `temporal_worker_task_slots_used{job="quantloom",pod="${pod}",task_queue="${queue}",worker_type="${type}"}`,
      values: used,
    });
    const series = [
      ...[slots('quantloom-cpu', 'cpu-1', '0 0 0 0 0'), slots('quantloom-cpu', 'cpu-2', '0 2 0 2 0')],
      slots('quantloom-cpu', 'cpu-3', '0 0 0 2 0'),
      slots('quantloom-control', 'control-1', '3 3 3 3 3', 'WorkflowWorker'),
      // Busy with work that nobody waits for yet, then with all that they can take of what they have at hand.
      ...[slots('quantloom-gpu', 'gpu-1', '0 0 0 1 0'), slots('quantloom-gpu-ahead', 'gpu-1', '0 1 0 0 0')],
      ...[slots('quantloom-gpu', 'gpu-2', '0 0 0 0 0'), slots('quantloom-gpu-ahead', 'gpu-2', '0 0 0 0 0')],
      slots('quantloom-gpu-at-gpu-1-0a1b2c3d', 'gpu-1', '0 0 2 2 0'),
      slots('quantloom-gpu-at-gpu-2-4e5f6071', 'gpu-2', '0 0 2 2 0'),
    ];
    // At every minute; none: all are idle.
    const wanted = { cpu: [null, 3, null, 3, null], gpu: [null, 2, 2, 3, null] };
    const tests = ofKind('gpu', 'ScaledObject').flatMap(({ metadata, spec }) => {
      const expr = spec.triggers.find(({ type }: Document) => type === 'prometheus').metadata.query;
      const values = wanted[metadata.labels['app.kubernetes.io/component'] as keyof typeof wanted];
      return values.map((value, minute) => ({
        expr,
        eval_time: `${minute}m`,
        exp_samples: value === null ? [] : [{ labels: '{}', value }],
      }));
    });
    expect(tests).toHaveLength(10);
    const directory = mkdtempSync(join(tmpdir(), 'quantloom-promtool-'));
    try {
      const file = join(directory, 'busy.yml');
      writeFileSync(
        file,
        JSON.stringify({ tests: [{ interval: '1m', input_series: series, promql_expr_test: tests }] }),
      );
      const { status, stdout, stderr } = spawnSync(promtool, ['test', 'rules', file], { encoding: 'utf8' });
      expect([status, status === 0 ? '' : stdout + stderr]).toEqual([0, '']);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

test('workers on GPUs ask for one each, and only they do', () => {
  const asked = workersOf('gpu').map(({ queue, worker }) => [queue, worker.resources.limits['nvidia.com/gpu']]);
  expect(Object.fromEntries(asked)).toEqual({ control: undefined, cpu: undefined, gpu: '1' });
  const [{ pod, worker }] = workersOf('gpu').filter(({ queue }) => queue === 'gpu') as [Document];
  expect(worker.image).toMatch(/^quantloom-cuda:/);
  const devices = workersOf('gpu').map(({ worker }) => readWorkerSettings(environmentOf('gpu', worker)).device);
  expect(devices.sort()).toEqual(['cpu', 'cpu', 'cuda:0']);
  const common = workersOf('cpu')[0]?.pod.tolerations;
  expect(pod.tolerations).toEqual(
    expect.arrayContaining([...common, expect.objectContaining({ key: 'nvidia.com/gpu' })]),
  );
});

test('the worker controller runs the pods of the queue `control`, at the server that the settings name', () => {
  const name = 'cpu with builds';
  expect(tools.faults(built[name] as string)).toEqual([]);
  expect(
    workersOf(name)
      .map(({ queue }) => queue)
      .sort(),
  ).toEqual(['cpu', 'gpu']);
  const [deployment] = ofKind('cpu', 'Deployment').filter(({ metadata }) => metadata.name === 'quantloom-control');
  const [{ spec }] = ofKind(name, 'WorkerDeployment') as [Document];
  const [settings] = ofKind(name, 'ConfigMap');
  const pods = structuredClone(deployment.spec.template);
  pods.spec.containers[0].image = 'registry.example/quantloom:0.1.0';
  pods.spec.containers[0].envFrom[0].configMapRef.name = settings.metadata.name;
  expect(spec.template).toEqual(pods);
  const [{ metadata, spec: connection }] = ofKind(name, 'Connection') as [Document];
  expect(connection).toEqual({ hostPort: settings.data.TEMPORAL_ADDRESS });
  expect(spec.workerOptions).toEqual({
    connectionRef: { name: metadata.name },
    temporalNamespace: settings.data.TEMPORAL_NAMESPACE,
  });
  // What the controller sets, workers read.
  const version = { TEMPORAL_DEPLOYMENT_NAME: 'quantloom/quantloom-control', TEMPORAL_WORKER_BUILD_ID: 'a1b2' };
  expect(readWorkerSettings(version).version).toEqual({
    deploymentName: 'quantloom/quantloom-control',
    buildId: 'a1b2',
  });
});
