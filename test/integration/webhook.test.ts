import { createHash } from 'node:crypto';
import { copyFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { resolveModelDirectory } from '../../engine/sources';
import {
  type Progress,
  type RequantizeRequest,
  type RequantizeResult,
  TASK_QUEUES,
  UPDATES,
  WORKFLOWS,
} from '../../engine/spec';
import { activityEvents } from '../support/activity-events';
import { type JobStack, startJobStack } from '../support/job-stack';
import { until } from '../support/until';
import { type ReceivedMessage, WebhookReceiver } from '../support/webhook-receiver';

const SECRET = 'a secret of the workers';

let stack: JobStack;
let receiver: WebhookReceiver;
let text: string;

beforeAll(async () => {
  receiver = await WebhookReceiver.start();
  stack = await startJobStack({ workers: ['control', 'cpu'], environment: { QUANTLOOM_WEBHOOK_SECRET: SECRET } });
  text = stack.output('held-out.txt');
  await copyFile(join(resolveModelDirectory('demo'), 'held-out.txt'), text);
}, 120_000);

afterAll(async () => {
  await stack?.stop();
  await receiver?.close();
}, 60_000);

function start(id: string, webhook: string, changes: Partial<RequantizeRequest['spec']> = {}) {
  const request: RequantizeRequest = {
    spec: {
      ...{ model: 'demo', output: stack.output(id), recipe: { method: 'rtn', bits: 4, groupSize: 64 } },
      evaluation: { text, context: 64, maxTokens: 256 },
      ...changes,
    },
    rule: { maxPerplexityRise: 0.01, maxSizeRise: null },
    webhook,
  };
  return stack.client.workflow.start(WORKFLOWS.requantizeModel, {
    ...{ workflowId: id, taskQueue: TASK_QUEUES.control, args: [request] },
  });
}

/** HMAC as RFC 2104 has it, of SHA-256, whose blocks have 64 bytes. */
function hmac(key: string, message: string): string {
  const padded = Buffer.concat([Buffer.from(key), Buffer.alloc(64 - Buffer.byteLength(key))]);
  const mixed = (pad: number) => padded.map((byte) => byte ^ pad);
  const inner = createHash('sha256').update(mixed(0x36)).update(message).digest();
  return createHash('sha256').update(mixed(0x5c)).update(inner).digest('hex');
}

function expectSigned({ headers, body }: ReceivedMessage): void {
  const timestamp = headers['x-quantloom-timestamp'] as string;
  expect(timestamp).toMatch(/^\d{10}$/);
  expect(headers['x-quantloom-signature']).toBe(`v0=${hmac(SECRET, `v0:${timestamp}:${body}`)}`);
}

const events = (messages: readonly ReceivedMessage[]) => messages.map(({ headers }) => headers['x-quantloom-event']);

test('a job that needs review and a result are told, signed, and once more where the receiver was away', async () => {
  const run = await start('reviewed', `${receiver.address}/hook?token=1`);
  const job = stack.client.workflow.getHandle('reviewed/quantize');
  // Nobody evaluates yet: the text is gone when somebody does.
  await until(async () => (await activityEvents(job)).activities.some(({ type }) => type === 'evaluate'));
  await rename(text, `${text}.away`);
  await stack.startWorker('gpu');
  await until(async () => receiver.of('reviewed').length === 1);
  await rename(`${text}.away`, text);
  receiver.answers.push(503, 429);
  await until(() => job.executeUpdate<Progress, [object]>(UPDATES.retryLayer, { args: [{}] }));
  const result = (await run.result()) as RequantizeResult;
  expect(result.outcome).toBe('promoted');

  const told = receiver.of('reviewed');
  expect(events(told)).toEqual(['needs-review', 'promoted', 'promoted', 'promoted']);
  for (const message of told) expectSigned(message);
  expect(new Set(told.map(({ path }) => path))).toEqual(new Set(['POST /hook?token=1']));
  const deliveries = told.map(({ headers }) => headers['x-quantloom-delivery']);
  expect(new Set(deliveries.slice(1)).size).toBe(1);
  expect(deliveries[0]).not.toBe(deliveries[1]);

  const [review, promoted] = told.map(({ body }) => JSON.parse(body));
  expect(Object.keys(promoted).sort()).toEqual(['blocks', 'text']);
  expect(review.text).toMatch(/^demo: a job needs review\. evaluating of reviewed\/quantize: .*held-out\.txt/);
  expect(promoted).toMatchObject({
    text: 'demo: a new result was promoted. the first result',
    blocks: [
      { type: 'section', text: { type: 'mrkdwn', text: '*demo: a new result was promoted*' } },
      { type: 'section', text: { type: 'plain_text', text: 'the first result' } },
      { type: 'context', elements: [{ type: 'plain_text', text: 'reviewed' }] },
    ],
  });
  // Addresses of webhooks are secrets too.
  expect(JSON.stringify(stack.log)).not.toContain('token=1');
}, 240_000);

test('a failure is told; a run that changes nothing is not', async () => {
  const failed = await start('failed', receiver.address, { model: stack.output('nowhere') });
  await expect(failed.result()).rejects.toThrow();
  expect(events(receiver.of('failed'))).toEqual(['failed']);
  expect(JSON.parse((receiver.of('failed')[0] as ReceivedMessage).body).text).toMatch(
    /quantization failed\. The model/,
  );

  const again = await start('again', receiver.address, { output: stack.output('reviewed') });
  expect(await again.result()).toMatchObject({ outcome: 'unchanged' });
  expect(receiver.of('again')).toEqual([]);
});

test('a receiver that does not want it is not asked again, and fails nothing', async () => {
  receiver.answers.push(404);
  const run = await start('unwanted', `${receiver.address}/gone`);
  expect(await run.result()).toMatchObject({ outcome: 'promoted' });
  expect(receiver.of('unwanted')).toHaveLength(1);
  const { memo } = await run.describe();
  expect(memo?.webhookFailed).toMatch(/^promoted: The webhook at 127\.0\.0\.1:\d+ answered with status 404\.$/);
});
