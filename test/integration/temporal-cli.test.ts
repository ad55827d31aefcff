import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { verifyCheckpoint } from '../../engine/checkpoints';
import type { Progress } from '../../engine/spec';
import { activityEvents } from '../support/activity-events';
import { type JobStack, startJobStack } from '../support/job-stack';
import { until } from '../support/until';

/** As docs/temporal-ui.md says: by Temporal's own tools, without a line of ours. */
describe("a job steered by Temporal's own tools", () => {
  let stack: JobStack;

  beforeAll(async () => {
    stack = await startJobStack({ workers: ['control', 'cpu'] });
  }, 60_000);

  afterAll(() => stack.stop(), 60_000);

  const temporal = async (...args: string[]) => {
    const command = process.env.QUANTLOOM_TEMPORAL_CLI as string;
    const { stdout } = await promisify(execFile)(command, [...args, '--address', stack.address, '--output', 'json']);
    return JSON.parse(stdout);
  };
  const start = (id: string, input: unknown) =>
    temporal(
      ...['workflow', 'start', '--type', 'quantizeModel', '--task-queue', 'quantloom-control'],
      ...['--workflow-id', id, '--input', typeof input === 'string' ? input : JSON.stringify(input)],
    );
  const update = (id: string, name: string, ...args: string[]) =>
    temporal('workflow', 'update', 'execute', '--workflow-id', id, '--name', name, ...args);

  it('starts from one JSON object with nothing but the required fields', async () => {
    const model = 'demo';
    const output = stack.output('required');
    await start('required', { model, output });
    // Waits for a GPU worker with 128 sequences of calibration text: the defaults.
    const original = stack.client.workflow.getHandle('required/original-0');
    await until(async () => (await activityEvents(original)).activities.length > 0);
    const paused = await update('required', 'pause');
    expect(paused.result).toMatchObject({ paused: true, scheme: 'gptq 4 bit g128' });
    const query = await temporal('workflow', 'query', '--workflow-id', 'required', '--type', 'progress');
    expect((query.queryResult as Progress[])[0]).toMatchObject({ phase: 'quantizing', output });
    expect((await update('required', 'skipLayer', '--input', '{"layer": 1}')).result.layers).toHaveLength(4);
    await expect(update('required', 'skipLayer', '--input', '{"layer": 4}')).rejects.toThrow('There is no layer 4');
    const { result } = await update('required', 'cancel');
    expect(result.phase).toBe('cancelled');
    await expect(stack.client.workflow.getHandle('required').result()).rejects.toThrow(/cancel/i);
  }, 300_000);

  it('runs to its end', async () => {
    const output = stack.output('nearest');
    await start('nearest', { model: 'demo', output, recipe: { method: 'rtn', groupSize: 64 } });
    const result = await stack.client.workflow.getHandle('nearest').result();
    expect(result).toMatchObject({ outputs: { gptq: output } });
    expect((await verifyCheckpoint(output)).passed).toBe(true);
  }, 300_000);

  it.each([
    ['a field that is missing', { model: 'demo' }, /output: .*expected string/],
    ['a field that there is not', { model: 'demo', output: '/nowhere/x', bits: 4 }, /Unrecognized key.*bits/],
    ['a value that cannot be', { model: 'demo', output: '/nowhere/x', recipe: { bits: 7 } }, /recipe\.bits: /],
    ['something else than an object', '"demo"', /whole object.*expected object, received string/],
    [
      'more slices than a history can hold',
      { model: 'demo', output: join(tmpdir(), 'x'), calibration: { samples: 1100, sequenceLength: 8, sliceTokens: 8 } },
      /calibration\.sliceTokens: .*1100 slices/,
    ],
    ['a model that is not there', { model: '/nowhere/model', output: '/nowhere/x' }, /\/nowhere\/model/],
  ])(
    'refuses %s at once, by name',
    async (what, input, message) => {
      await start(what, input);
      const error = await stack.client.workflow
        .getHandle(what)
        .result()
        .catch((caught: Error) => caught);
      expect((error as Error).cause).toMatchObject({ message: expect.stringMatching(message), nonRetryable: true });
      const { activities } = await activityEvents(stack.client.workflow.getHandle(what));
      expect(activities.map(({ type }) => type)).toEqual(['inspectModel']);
    },
    60_000,
  );
});
