import type { ChildProcess } from 'node:child_process';
import { PROGRESS_QUERY, type Progress, type QueueName } from '../../engine/spec';
import { buildEnvironment, makeCurrent } from '../support/builds';
import { demoSpec } from '../support/demo-spec';
import { type JobStack, startJobStack } from '../support/job-stack';
import { until } from '../support/until';
import { weightDigests } from '../support/weight-files';

const QUEUES: readonly QueueName[] = ['control', 'cpu', 'gpu'];

let stack: JobStack;

beforeAll(async () => {
  stack = await startJobStack({ workers: [] });
}, 60_000);

afterAll(() => stack.stop(), 60_000);

/** Workers of a build, which get nothing to do before it is the current one. */
function startBuild(buildId: string, environment: Readonly<Record<string, string>> = {}): Promise<ChildProcess[]> {
  const version = buildEnvironment(buildId);
  return Promise.all(QUEUES.map((queue) => stack.startWorker(queue, { ...environment, ...version })));
}

async function buildsOf(id: string): Promise<Record<string, string | null | undefined>> {
  const builds: Record<string, string | null | undefined> = {};
  for await (const { workflowId, runId } of stack.client.workflow.list({ query: `WorkflowId STARTS_WITH '${id}'` })) {
    const { raw } = await stack.client.workflow.getHandle(workflowId, runId).describe();
    builds[`${workflowId} ${runId}`] = raw.workflowExecutionInfo?.versioningInfo?.deploymentVersion?.buildId;
  }
  return builds;
}

const computedBy = (workers: readonly ChildProcess[]) =>
  stack.log.filter(({ event, pid }) => event === 'computed' && workers.some((worker) => worker.pid === pid)).length;

test('a job that newer workers meet goes over to them between two layers, and gives the same bytes', async () => {
  const first = await startBuild('1.0.0');
  await makeCurrent(stack, '1.0.0');
  const job = await stack.start(demoSpec(stack.output('upgraded')), 'upgraded');
  const second = await startBuild('2.0.0');
  const current = stack.client.workflow.getHandle('upgraded');
  await until(async () => (await current.query<Progress>(PROGRESS_QUERY)).layersDone >= 1);
  await makeCurrent(stack, '2.0.0');
  await job.result();

  const builds = await until(async () => {
    const found = await buildsOf('upgraded');
    return Object.values(found).every(Boolean) && found;
  });
  const ofJob = Object.entries(builds).filter(([name]) => name.startsWith('upgraded '));
  expect(ofJob.map(([, build]) => build).sort()).toEqual(['1.0.0', '2.0.0']);
  const ofLayers = [0, 1, 2, 3].map(
    (layer) => Object.entries(builds).find(([name]) => name.startsWith(`upgraded/layer-${layer} `))?.[1],
  );
  expect(ofLayers[0]).toBe('1.0.0');
  expect(ofLayers[3]).toBe('2.0.0');
  expect(ofLayers).toEqual([...ofLayers].sort());
  expect(computedBy(first)).toBeGreaterThan(0);
  expect(computedBy(second)).toBeGreaterThan(0);

  // A third build, of an empty store, does all of it by itself.
  await startBuild('3.0.0', { QUANTLOOM_STORE: stack.output('other-store') });
  await makeCurrent(stack, '3.0.0');
  await stack.run(demoSpec(stack.output('alone')), 'alone');
  expect(new Set(Object.values(await buildsOf('alone')))).toEqual(new Set(['3.0.0']));
  expect(await weightDigests(stack.output('upgraded'))).toEqual(await weightDigests(stack.output('alone')));
}, 300_000);
