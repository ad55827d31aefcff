import { verifyCheckpoint } from '../../engine/checkpoints';
import type { QuantizationSpecInput } from '../../engine/spec';
import { demoSpec } from '../support/demo-spec';
import { type JobStack, startJobStack } from '../support/job-stack';
import { shortDemo } from '../support/short-demo';
import { weightDigests } from '../support/weight-files';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

describe('a job that makes up for mismatches', () => {
  let stack: JobStack;
  let model: string;

  beforeAll(async () => {
    stack = await startJobStack();
    model = await shortDemo(stack.directory);
  }, 60_000);

  afterAll(() => stack.stop(), 60_000);

  it.each([
    ['all of it', {}],
    ['the head too, in parts', { keepHead: false, solveParts: 2 }],
    ['one linear', { recipe: { bits: 3 }, overrides: [{ match: 'model.layers.1.self_attn.o_proj', mismatch: 1 }] }],
  ] as const)(
    'writes the bytes that the engine alone writes (%s)',
    async (what, others) => {
      const recipe = { bits: 3, groupSize: 64, refinements: 1, mismatch: 0.5 } as const;
      const changes = { model, recipe, ...others } as Partial<QuantizationSpecInput>;
      const id = `mismatch-${what.replaceAll(/[^a-z]/g, '-')}`;
      await stack.run(demoSpec(stack.output(id), changes), id);
      await quantizeDirect(demoSpec(stack.output(`direct-${id}`), changes));
      expect(await weightDigests(stack.output(id))).toEqual(await weightDigests(stack.output(`direct-${id}`)));
      expect((await verifyCheckpoint(stack.output(id))).passed).toBe(true);
    },
    300_000,
  );
});
