import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpoint, verifyCheckpoint } from '../../engine/checkpoints';
import { resolveModelDirectory } from '../../engine/sources';
import type { QuantizationSpecInput } from '../../engine/spec';
import { type JobStack, startJobStack } from '../support/job-stack';
import { shortDemo } from '../support/short-demo';
import { weightDigests } from '../support/weight-files';

/** Largest difference between two models' weights of a linear, relative to its largest weight, after the columns are divided by `scales`. */
async function difference(checkpoint: string, module: string, scales: (column: number) => number): Promise<number> {
  const [found, source] = [await openCheckpoint(checkpoint), await openCheckpoint(resolveModelDirectory('demo'))];
  const { data, shape } = await found.float(`${module}.weight`);
  const { data: original } = await source.float(`${module}.weight`);
  const columns = shape.at(-1) as number;
  const largest = original.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return data.reduce((most, value, at) => {
    return Math.max(most, Math.abs(value / scales(at % columns) - (original[at] as number)) / largest);
  }, 0);
}

describe('a job with the method awq', () => {
  let stack: JobStack;
  let model: string;

  const awqSpec = (output: string, changes: Partial<QuantizationSpecInput> = {}): QuantizationSpecInput => ({
    model,
    output,
    recipe: { method: 'awq', groupSize: 64 },
    calibration: { source: 'demo', samples: 8, sequenceLength: 64, sliceTokens: 128 },
    ...changes,
  });

  beforeAll(async () => {
    stack = await startJobStack();
    model = await shortDemo(stack.directory);
  }, 60_000);

  afterAll(() => stack.stop(), 60_000);

  it('folds scales into norms and weights, and writes every format of its grid from one calibration', async () => {
    const output = stack.output('awq');
    const formats = ['awq', 'gptq_v2', 'compressed-tensors', 'gguf'] as const;
    const result = await stack.run(awqSpec(output, { formats: [...formats] }), 'awq');
    const source = await openCheckpoint(resolveModelDirectory('demo'));
    for (const format of formats) {
      const directory = result.outputs[format] as string;
      expect((await verifyCheckpoint(directory)).passed).toBe(true);
      const norm = 'model.layers.1.input_layernorm.weight';
      const [gain, before] = [await (await openCheckpoint(directory)).float(norm), await source.float(norm)];
      const scales = before.data.map((value, at) => value / (gain.data[at] as number));
      expect(Math.max(...scales) / Math.min(...scales)).toBeGreaterThan(1.5);
      // A step of 4 bits is some 1/15 of a group's range.
      const module = 'model.layers.1.self_attn.q_proj';
      expect(await difference(directory, module, (column) => scales[column] as number)).toBeLessThan(0.15);
      expect(await difference(directory, module, () => 1)).toBeGreaterThan(0.2);
    }
    const card = await readFile(join(result.outputs.awq as string, 'README.md'), 'utf8');
    expect(card).toContain('Input channels of linears are scaled (AWQ)');
  }, 300_000);

  it('computes nothing twice, and writes the same bytes however the work is divided', async () => {
    const first = await stack.run(awqSpec(stack.output('whole')), 'whole');
    expect(first.cached).toBeGreaterThan(0);
    const before = stack.log.length;
    await stack.run(awqSpec(stack.output('again')), 'again');
    const computed = stack.log.slice(before).filter(({ event }) => event === 'computed');
    expect(computed.filter(({ step }) => /scale|calibrate|quantize/.test(step ?? ''))).toEqual([]);
    const changes = { solveParts: 3, concurrency: 2 } as const;
    const seeded = (output: string, others: object) =>
      awqSpec(output, {
        calibration: { source: 'demo', samples: 8, sequenceLength: 64, sliceTokens: 128, seed: 4 },
        ...others,
      });
    await stack.run(seeded(stack.output('parts'), changes), 'parts');
    await stack.run(seeded(stack.output('one'), {}), 'one');
    expect(await weightDigests(stack.output('again'))).toEqual(await weightDigests(stack.output('whole')));
    expect(await weightDigests(stack.output('one'))).toEqual(await weightDigests(stack.output('parts')));
  }, 300_000);

  it.each([
    [
      'gptq on scaled channels, layers side by side',
      { recipe: { groupSize: 64 }, scaling: 'awq', order: 'independent' },
    ],
    [
      'rounding on scaled channels, without another calibration',
      { recipe: { method: 'rtn', groupSize: 64 }, scaling: 'awq' },
    ],
    ['a rotated model', { rotation: 'hadamard' }],
    ['widths chosen', { recipe: { method: 'awq', groupSize: 64 }, averageBits: 3.5, formats: ['gptq_v2'] }],
  ] as const)(
    'verifies with %s',
    async (what, changes) => {
      const id = what.replaceAll(/\W+/g, '-');
      const overrides = [{ match: 'model.layers.1.mlp.up_proj', skip: true }];
      const output = stack.output(id);
      await stack.run(awqSpec(output, { overrides, ...changes } as Partial<QuantizationSpecInput>), id);
      expect((await verifyCheckpoint(output)).passed).toBe(true);
      const source = await openCheckpoint(resolveModelDirectory('demo'));
      const kept = 'model.layers.1.mlp.up_proj.weight';
      const same = (await (await openCheckpoint(output)).float(kept)).data;
      // What is kept in 16 bit is not scaled.
      if (!('rotation' in changes)) expect(same).toEqual((await source.float(kept)).data);
    },
    300_000,
  );
});
