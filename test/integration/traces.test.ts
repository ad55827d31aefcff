import { once } from 'node:events';
import { Client } from '@temporalio/client';
import { TASK_QUEUES } from '../../engine/spec';
import { closeTraces, tracesOf } from '../../workers/traces';
import { wantsTraces } from '../../workers/traces/wants-traces';
import { demoSpec } from '../support/demo-spec';
import { startJobStack } from '../support/job-stack';
import { SHORT_LAYERS, shortDemo } from '../support/short-demo';
import { WebhookReceiver } from '../support/webhook-receiver';

jest.setTimeout(120_000);

/** As OTLP has them in JSON (opentelemetry-proto, trace/v1/trace.proto). */
interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly status: { readonly code: number };
  readonly attributes: readonly { readonly key: string; readonly value: Readonly<Record<string, unknown>> }[];
}
interface Sent {
  readonly resourceSpans: readonly {
    readonly resource: Pick<Span, 'attributes'>;
    readonly scopeSpans: readonly { readonly spans: readonly Span[] }[];
  }[];
}

const attributeOf = ({ attributes }: Pick<Span, 'attributes'>, key: string) =>
  Object.values(attributes.find((attribute) => attribute.key === key)?.value ?? {})[0];

function spansOf(collector: WebhookReceiver): (Span & { readonly part: unknown })[] {
  expect(new Set(collector.received.map(({ path }) => path))).toEqual(new Set(['POST /v1/traces']));
  return collector.received.flatMap(({ body }) =>
    (JSON.parse(body) as Sent).resourceSpans.flatMap(({ resource, scopeSpans }) =>
      scopeSpans.flatMap(({ spans }) =>
        spans.map((span) => ({ ...span, part: attributeOf(resource, 'quantloom.part') })),
      ),
    ),
  );
}

test('a job is one trace, from its start to the last activity, through a control worker that was replaced', async () => {
  const collector = await WebhookReceiver.start();
  const environment = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.address, OTEL_RESOURCE_ATTRIBUTES: 'team=blue' };
  Object.assign(process.env, environment);
  const traces = tracesOf('test', process.env);
  const stack = await startJobStack({ workers: [], environment });
  try {
    const first = await stack.startWorker('control');
    for (const queue of ['cpu', 'gpu'] as const) await stack.startWorker(queue);
    const client = new Client({
      connection: stack.client.connection,
      interceptors: { workflow: traces ? [traces.client] : [] },
    });
    const secret = 'sk-of-nobodys-business';
    const spec = demoSpec(stack.output('traced'), { model: await shortDemo(stack.directory) });
    const job = await client.workflow.start('quantizeModel', {
      ...{ taskQueue: TASK_QUEUES.control, workflowId: 'traced', args: [spec], memo: { secret } },
    });
    // In the middle of the first layer.
    while (!stack.log.some(({ event }) => event === 'stage-passed'))
      await new Promise((resolve) => setTimeout(resolve, 50));
    first.stdin?.end();
    await once(first, 'exit');
    await stack.startWorker('control');
    await job.result();
    await closeTraces();
  } finally {
    await stack.stop(); // sends what is left
    await closeTraces();
    for (const name of Object.keys(environment)) delete process.env[name];
  }
  const spans = spansOf(collector);
  await collector.close();

  expect(new Set(spans.map(({ traceId }) => traceId)).size).toBe(1);
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  expect(byId.size).toBe(spans.length);
  const roots = spans.filter(({ parentSpanId }) => !parentSpanId);
  expect(roots.map(({ name, part }) => [name, part])).toEqual([['StartWorkflow:quantizeModel', 'test']]);
  expect(spans.filter(({ parentSpanId }) => parentSpanId && !byId.has(parentSpanId))).toEqual([]);

  const named = (name: string) => spans.filter((span) => span.name === name);
  expect(named('RunWorkflow:quantizeLayer')).toHaveLength(SHORT_LAYERS);
  expect(named('RunActivity:calibrateSlice').map((span) => attributeOf(span, 'quantloom.stage'))).toContain('mlp');
  const [solve] = named('RunActivity:quantizeLinears').filter((span) => attributeOf(span, 'quantloom.block') === 1);
  const lineage = [];
  for (let span = solve as Span | undefined; span; span = byId.get(span.parentSpanId ?? '')) lineage.push(span.name);
  expect(lineage).toEqual([
    'RunActivity:quantizeLinears',
    'StartActivity:quantizeLinears',
    'RunWorkflow:quantizeLayer',
    'StartChildWorkflow:quantizeLayer',
    'RunWorkflow:quantizeModel',
    'StartWorkflow:quantizeModel',
  ]);
  expect(solve && [attributeOf(solve, 'quantloom.attempt'), attributeOf(solve, 'quantloom.queue')]).toEqual([
    1,
    TASK_QUEUES.cpu,
  ]);
  const all = collector.received.map(({ body }) => body).join();
  expect(all).toContain('"team"');
  expect(all).not.toContain('sk-of-nobodys-business');
  expect(all).not.toContain('refinements');
});

test('a collector that refuses, and one that is not there, keep nobody from working or ending', async () => {
  const collector = await WebhookReceiver.start();
  collector.answers.push(...new Array<number>(1000).fill(503));
  const away = await WebhookReceiver.start();
  const nowhere = away.address;
  await away.close();
  const stack = await startJobStack({ workers: [] });
  try {
    const addresses = { control: collector.address, cpu: nowhere, gpu: nowhere };
    const workers = [];
    for (const [queue, address] of Object.entries(addresses)) {
      workers.push(await stack.startWorker(queue as 'cpu', { OTEL_EXPORTER_OTLP_ENDPOINT: address }));
    }
    const model = await shortDemo(stack.directory);
    const result = await stack.run(
      demoSpec(stack.output('untold'), { model, recipe: { method: 'rtn', bits: 4 } }),
      'untold',
    );
    expect(result.outputs).toEqual({ gptq: stack.output('untold') });
    for (const worker of workers) {
      worker.stdin?.end();
      await once(worker, 'exit');
      expect(worker.exitCode).toBe(0);
    }
  } finally {
    await stack.stop();
    await collector.close();
  }
});

test.each([
  [{}, false],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' }, true],
  [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://collector:4318/v1/traces' }, true],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: '' }, false],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318', OTEL_SDK_DISABLED: 'True' }, false],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318', OTEL_TRACES_EXPORTER: 'none' }, false],
])('whether there are traces: %j', (environment, expected) => {
  expect(wantsTraces(environment)).toBe(expected);
});
