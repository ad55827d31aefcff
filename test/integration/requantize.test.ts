import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { resolveModelDirectory } from '../../engine/sources';
import { type RequantizeRequest, type RequantizeResult, TASK_QUEUES, WORKFLOWS } from '../../engine/spec';
import { activityEvents } from '../support/activity-events';
import { COMMIT, HubServer } from '../support/hub-server';
import { type JobStack, startJobStack } from '../support/job-stack';
import { until } from '../support/until';
import { WebhookReceiver } from '../support/webhook-receiver';

let stack: JobStack;
let hub: HubServer;
let receiver: WebhookReceiver;

beforeAll(async () => {
  const demo = resolveModelDirectory('demo');
  const files: Record<string, Buffer> = {};
  for (const name of (await readdir(demo)).filter((entry) => /json$|safetensors$/.test(entry))) {
    files[name] = await readFile(join(demo, name));
  }
  hub = await HubServer.start({ 'some/demo': { files, large: (path) => path.endsWith('.safetensors') } });
  receiver = await WebhookReceiver.start();
  stack = await startJobStack({ workers: ['control', 'cpu'], environment: { HF_ENDPOINT: hub.endpoint } });
}, 120_000);

afterAll(async () => {
  await stack?.stop();
  await hub?.close();
  await receiver?.close();
}, 60_000);

function request(output: string, changes: Partial<RequantizeRequest['spec']> = {}): RequantizeRequest {
  const recipe = { method: 'rtn', bits: 4, groupSize: 64 } as const;
  return {
    spec: { model: 'demo', output: stack.output(output), recipe, ...changes },
    rule: { maxPerplexityRise: null, maxSizeRise: 0 },
    webhook: receiver.address,
  };
}

const action = (args: [RequantizeRequest], workflowId: string) => ({
  ...{ taskQueue: TASK_QUEUES.control, workflowId, args },
});

test('where the policy says so, a new run cancels the one before it, which leaves nothing behind and tells nobody', async () => {
  const evaluation = { text: 'demo', context: 64, maxTokens: 128 };
  const schedule = await stack.client.schedule.create({
    scheduleId: 'impatient',
    spec: { cronExpressions: ['0 2 * * *'] },
    policies: { overlap: 'CANCEL_OTHER' },
    action: {
      ...{ type: 'startWorkflow', workflowType: WORKFLOWS.requantizeModel },
      ...action([request('impatient', { evaluation })], 'impatient'),
    },
  });
  /** Run number `count`, once its job waits for somebody to evaluate. */
  const waiting = async (count: number) => {
    const id = await until(async () => {
      const { recentActions } = (await schedule.describe()).info;
      return recentActions.length === count && recentActions.at(-1)?.action.workflow.workflowId;
    });
    const job = stack.client.workflow.getHandle(`${id}/quantize`);
    await until(async () => (await activityEvents(job)).activities.some(({ type }) => type === 'evaluate'));
    return stack.client.workflow.getHandle(id);
  };
  await schedule.trigger('CANCEL_OTHER');
  const first = await waiting(1);
  await schedule.trigger('CANCEL_OTHER');
  const second = await waiting(2);
  expect((await first.describe()).status.name).toBe('CANCELLED');
  await stack.startWorker('gpu');
  const { candidate } = (await second.result()) as RequantizeResult;

  expect((await readdir(stack.output('impatient'))).sort()).toEqual([candidate, 'current', 'releases.json'].sort());
  expect(receiver.of(first.workflowId)).toEqual([]);
}, 120_000);

test('a model of the hub is what its commit says', async () => {
  const args: [RequantizeRequest] = [request('from-hub', { model: 'hf:some/demo' })];
  const run = (id: string): Promise<RequantizeResult> =>
    stack.client.workflow.execute(WORKFLOWS.requantizeModel, action(args, id));
  expect(await run('from-hub')).toMatchObject({ outcome: 'promoted', revision: `hf:some/demo@${COMMIT}` });
  const manifest = JSON.parse(await readFile(join(stack.output('from-hub'), 'current', 'quantloom.json'), 'utf8'));
  expect(manifest.source.address).toBe(`hf:some/demo@${COMMIT}`);

  // These workers have no secret.
  const [told] = receiver.of('from-hub');
  expect(told?.headers).toMatchObject({ 'x-quantloom-event': 'promoted' });
  expect(told?.headers).not.toHaveProperty('x-quantloom-signature');

  const asked = hub.requests.length;
  expect(await run('from-hub-again')).toMatchObject({ outcome: 'unchanged', revision: `hf:some/demo@${COMMIT}` });
  // One question: which commit it is.
  expect(hub.requests.slice(asked)).toHaveLength(1);
});

test.each([
  ['a recipe', { recipe: { method: 'rtn', bits: 8, groupSize: 64 } as const }, 'kept'],
  ['a name for the same model', { model: resolveModelDirectory('demo') }, 'unchanged'],
  ['how many share the work', { solveParts: 2, concurrency: 3 }, 'unchanged'],
])('another run with %s', async (_what, changes, outcome) => {
  const name = `changes-${outcome}-${Object.keys(changes)[0]}`;
  const run = (id: string, spec = {}): Promise<RequantizeResult> =>
    stack.client.workflow.execute(WORKFLOWS.requantizeModel, action([request(name, spec)], id));
  expect(await run(name)).toMatchObject({ outcome: 'promoted' });
  expect(await run(`${name}-again`, changes)).toMatchObject({ outcome });
});
