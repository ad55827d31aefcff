import { verifyCheckpoint } from '../../engine/checkpoints';
import type { QuantizationSpecInput } from '../../engine/spec';
import { demoSpec } from '../support/demo-spec';
import { type JobStack, startJobStack } from '../support/job-stack';
import { SHORT_LAYERS, shortDemo } from '../support/short-demo';
import { weightDigests } from '../support/weight-files';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

describe('a job that chooses widths', () => {
  let stack: JobStack;
  let model: string;

  beforeAll(async () => {
    stack = await startJobStack();
    model = await shortDemo(stack.directory);
  }, 60_000);

  afterAll(() => stack.stop(), 60_000);

  it.each([
    ['stage', {}],
    ['layer', {}],
    ['independent', {}],
    ['stage', { method: 'rtn' }],
  ] as const)(
    'writes the bytes that the engine alone writes (order %s, %o)',
    async (order, recipe) => {
      const id = `widths-${order}-${Object.values(recipe).join('')}`;
      const changes: Partial<QuantizationSpecInput> = {
        model,
        order,
        averageBits: 3.25,
        recipe: { bits: 4, groupSize: 64, refinements: 1, ...recipe },
        overrides: [{ match: 'model.layers.1.*.o_proj', bits: 8 }],
      };
      const result = await stack.run(demoSpec(stack.output(id), changes), id);
      await quantizeDirect(demoSpec(stack.output(`direct-${id}`), changes));
      expect(await weightDigests(stack.output(id))).toEqual(await weightDigests(stack.output(`direct-${id}`)));
      expect((await verifyCheckpoint(stack.output(id))).passed).toBe(true);
      expect(result.widths?.averageBits).toBeLessThanOrEqual(3.25);
      expect(result.widths?.averageBits).toBeGreaterThan(3.1);
      const linears = Object.values(result.widths?.linearsByBits ?? {}).reduce((sum, count) => sum + count, 0);
      expect(linears).toBe(SHORT_LAYERS * 7);
    },
    300_000,
  );

  it('and makes up for mismatches too', async () => {
    const recipe = { bits: 3, groupSize: 64, refinements: 1, mismatch: 0.5 } as const;
    const spec = (name: string) => demoSpec(stack.output(name), { model, recipe, averageBits: 3.25 });
    // Leaves records of passes of the original model, and none of their activations.
    await stack.run(demoSpec(stack.output('before'), { model, recipe }), 'before');
    await stack.run(spec('mismatch'), 'mismatch');
    await quantizeDirect(spec('direct-mismatch'));
    expect(await weightDigests(stack.output('mismatch'))).toEqual(await weightDigests(stack.output('direct-mismatch')));
    expect((await verifyCheckpoint(stack.output('mismatch'))).passed).toBe(true);
  }, 300_000);
});
