import { verifyCheckpoint } from '../../engine/checkpoints';
import type { QuantizationSpecInput } from '../../engine/spec';
import { type JobStack, startJobStack } from '../support/job-stack';
import { weightDigests } from '../support/weight-files';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');
const { preferKernels } = require('../../dist/engine/kernels') as typeof import('../../engine/kernels');

describe('a job of workers without native kernels', () => {
  let stack: JobStack;

  beforeAll(async () => {
    preferKernels('typescript');
    stack = await startJobStack({ environment: { QUANTLOOM_KERNELS: 'typescript' } });
  }, 60_000);

  afterAll(async () => {
    preferKernels('native');
    await stack.stop();
  }, 60_000);

  it('does all that the default recipe asks for, as the engine alone does', async () => {
    const spec = (name: string): QuantizationSpecInput => ({
      model: 'demo',
      output: stack.output(name),
      calibration: { source: 'demo', samples: 4, sequenceLength: 64, sliceTokens: 128 },
    });
    const result = await stack.run({ ...spec('durable'), solveParts: 2 }, 'durable');
    expect(stack.log.filter(({ event }) => event === 'activity-failed')).toEqual([]);
    expect((await verifyCheckpoint(stack.output('durable'))).passed).toBe(true);
    expect(result.meanRelativeError).toBeLessThan(result.meanRelativeErrorBeforeRefinement as number);
    await quantizeDirect(spec('direct'));
    expect(await weightDigests(stack.output('durable'))).toEqual(await weightDigests(stack.output('direct')));
  }, 300_000);
});
