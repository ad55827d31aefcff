import { join } from 'node:path';
import { type CheckpointReader, openCheckpoint, verifyCheckpoint } from '../../engine/checkpoints';
import type { QuantizationSpecInput } from '../../engine/spec';
import { type JobStack, startJobStack } from '../support/job-stack';
import { SHORT_LAYERS, shortDemo } from '../support/short-demo';

const SLICES = 2;
const STAGES = 4;

describe('one calibration, many outputs', () => {
  let stack: JobStack;
  let model: string;

  beforeAll(async () => {
    stack = await startJobStack();
    model = await shortDemo(stack.directory);
  }, 60_000);

  afterAll(() => stack.stop(), 60_000);

  const spec = (id: string, changes: Partial<QuantizationSpecInput>): QuantizationSpecInput => ({
    model,
    output: stack.output(id),
    calibration: { source: 'demo', samples: 4, sequenceLength: 64, sliceTokens: 128 },
    ...changes,
  });

  /** Runs a job; how often it computed each step, and found it. */
  async function run(id: string, changes: Partial<QuantizationSpecInput>) {
    const before = stack.log.length;
    const result = await stack.run(spec(id, changes), id);
    const log = stack.log.slice(before);
    const times = (event: string, step: string) =>
      log.filter((line) => line.event === event && line.step === step).length;
    return {
      result,
      computed: (step: string) => times('computed', step),
      cached: (step: string) => times('cached', step),
    };
  }

  it.each([
    ['bits, group size and refinements', { bits: 3, groupSize: 32, refinements: 0 }],
    ['symmetry and order of columns', { bits: 4, groupSize: 64, symmetric: false, actOrder: 'dynamic' }],
  ] as const)(
    'layers that are independent: other %s compute no activation and no Hessian again',
    async (what, recipe) => {
      const order = 'independent';
      await run(`first ${what}`, { order, recipe: { bits: 4, groupSize: 64 } });
      const { result, computed, cached } = await run(`second ${what}`, { order, recipe });
      for (const step of ['fetch-model', 'tokenize-calibration', 'embed-slice', 'calibrate-slice', 'merge-hessian']) {
        expect([step, computed(step)]).toEqual([step, 0]);
      }
      expect(cached('calibrate-slice')).toBe(SHORT_LAYERS * STAGES * SLICES);
      expect(cached('merge-hessian')).toBe(SHORT_LAYERS * STAGES);
      expect(computed('quantize-linears')).toBe(SHORT_LAYERS * STAGES);
      expect(result.secondsSaved).toBeGreaterThan(0);
    },
    300_000,
  );

  it('two formats of one job: the same codes, each format packed and verified', async () => {
    const formats: NonNullable<QuantizationSpecInput['formats']> = ['gptq', 'compressed-tensors'];
    const calibration = { source: 'demo', samples: 4, sequenceLength: 64, sliceTokens: 128, seed: 2 };
    const recipe = { bits: 4, groupSize: 64, symmetric: false, mismatch: 0 } as const;
    const { result, computed, cached } = await run('two formats', { calibration, recipe, formats });
    expect(computed('calibrate-slice')).toBe(SHORT_LAYERS * STAGES * SLICES);
    expect(computed('quantize-linears')).toBe(SHORT_LAYERS * STAGES);
    // What no layer owns is the same in each format's jobs: it may have been packed before.
    expect(computed('pack-layer') + cached('pack-layer')).toBe(formats.length * (SHORT_LAYERS + 1));
    const directories = formats.map((format) => join(stack.output('two formats'), format));
    expect(Object.values(result.outputs)).toEqual(directories);
    const verified = await Promise.all(directories.map((directory) => verifyCheckpoint(directory)));
    expect(verified.map(({ kind, passed }) => [kind, passed])).toEqual(formats.map((format) => [format, true]));
    const [first, second] = (await Promise.all(directories.map(openCheckpoint))) as [
      CheckpointReader,
      CheckpointReader,
    ];
    expect(second.names()).toEqual(first.names());
    for (const name of first.names()) expect(await second.float(name)).toEqual(await first.float(name));
  }, 300_000);

  it('stage by stage: what lies before the first quantized weight is not computed again', async () => {
    const calibration = { source: 'demo', samples: 4, sequenceLength: 64, sliceTokens: 128, seed: 1 };
    await run('stage 4', { calibration, recipe: { bits: 4, groupSize: 64 } });
    const { computed, cached } = await run('stage 3', { calibration, recipe: { bits: 3, groupSize: 64 } });
    expect(cached('embed-slice')).toBe(SLICES);
    // The first stage of the first layer applies nothing that is quantized. The original, of which one slice passes beside the other, goes on from
    // behind it to the head.
    expect(cached('calibrate-slice')).toBe(SLICES + SHORT_LAYERS * STAGES);
    expect(cached('merge-hessian')).toBe(1);
    expect(computed('calibrate-slice')).toBe((SHORT_LAYERS * STAGES - 1) * SLICES);
  }, 300_000);
});
