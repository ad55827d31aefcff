import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpoint, parseManifest, verifyCheckpoint } from '../../engine/checkpoints';
import { resolveModelDirectory } from '../../engine/sources';
import type { QuantizationSpecInput } from '../../engine/spec';
import { type JobStack, startJobStack } from '../support/job-stack';
import { shortDemo } from '../support/short-demo';
import { weightDigests } from '../support/weight-files';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

/** How inputs are rounded, by the beginning of what a case is called. */
const INPUTS: Readonly<Record<string, object>> = {
  int8: { type: 'int8', groupSize: -1 },
  fp8: { type: 'fp8', groupSize: -1 },
  'fp8 with static scales': { type: 'fp8', groupSize: -1, scale: 'input_scale' },
  mxfp4: { type: 'mxfp4', groupSize: 32 },
  nvfp4: { type: 'nvfp4', groupSize: 16, scale: 'input_global_scale' },
};

describe('a job for kernels that quantize the inputs of linears', () => {
  let stack: JobStack;
  let model: string;

  beforeAll(async () => {
    stack = await startJobStack();
    model = await shortDemo(stack.directory);
  }, 60_000);

  afterAll(() => stack.stop(), 60_000);

  const spec = (output: string, changes: Partial<QuantizationSpecInput>): QuantizationSpecInput => ({
    model,
    output,
    calibration: { source: 'demo', samples: 8, sequenceLength: 64, sliceTokens: 128 },
    evaluation: { text: 'demo', context: 128, maxTokens: 1024 },
    ...changes,
  });

  it.each([
    ['fp8', { recipe: { method: 'rtn', floatType: 'fp8' } }, 0.02],
    ['fp8 with static scales', { recipe: { method: 'rtn', floatType: 'fp8-tensor', activations: 'fp8-static' } }, 0.02],
    ['fp8 by gptq', { recipe: { floatType: 'fp8' } }, 0.02],
    ['mxfp4', { recipe: { method: 'rtn', floatType: 'mxfp4', activations: 'mxfp4' } }, 0.2],
    ['nvfp4', { recipe: { floatType: 'nvfp4', activations: 'nvfp4' } }, 0.2],
    ['int8', { recipe: { activations: 'int8' } }, 0.02],
    ['int8, smoothed', { recipe: { activations: 'int8', method: 'rtn' }, scaling: 'smoothquant' }, 0.02],
    [
      'fp8 and packed codes',
      { recipe: { floatType: 'fp8-tensor' }, overrides: [{ match: '*.layers.1.*', skip: true }] },
      0.02,
    ],
  ] as const)(
    'writes %s, verified, with a perplexity that knows of it',
    async (what, changes, most) => {
      const id = what.replaceAll(/\W+/g, '-');
      const output = stack.output(id);
      await stack.run(spec(output, changes as Partial<QuantizationSpecInput>), id);
      expect((await verifyCheckpoint(output)).passed).toBe(true);
      const { perplexity } = parseManifest(await readFile(join(output, 'quantloom.json'), 'utf8'));
      const { original, quantized } = perplexity as { original: number; quantized: number };
      expect(Math.abs(quantized / original - 1)).toBeLessThan(most);
      // Weights alone would not be the same to the last digits.
      const reader = await openCheckpoint(output);
      const rounding = what.includes('static')
        ? INPUTS['fp8 with static scales']
        : INPUTS[what.split(/\W/)[0] as string];
      expect(reader.inputs('model.layers.0.mlp.up_proj')).toEqual(rounding);
      expect(reader.inputs('lm_head')).toBeUndefined();
    },
    300_000,
  );

  it.each([
    ['gptq', 'stage'],
    ['rtn', 'layer'],
    ['rtn', 'independent'],
  ] as const)(
    'finds the same static scales in one process: %s, order %s',
    async (method, order) => {
      const id = `static-${method}-${order}`;
      const output = stack.output(id);
      const changes = {
        recipe: { method, floatType: 'fp8', activations: 'fp8-static' },
        order,
        evaluation: null,
      } as const;
      await stack.run(spec(output, changes), id);
      await quantizeDirect(spec(`${output}-direct`, changes));
      expect(await weightDigests(output)).toEqual(await weightDigests(`${output}-direct`));
      const { linears } = parseManifest(await readFile(join(output, 'quantloom.json'), 'utf8'));
      const scaleOf = (part: string) => linears[`model.layers.0.${part}_proj`]?.inputScale as number;
      // They are divided by what they have in common.
      expect(new Set(['q', 'k', 'v'].map((part) => scaleOf(`self_attn.${part}`))).size).toBe(1);
      expect(scaleOf('mlp.gate')).toBe(scaleOf('mlp.up'));
      expect(
        new Set([scaleOf('self_attn.q'), scaleOf('self_attn.o'), scaleOf('mlp.up'), scaleOf('mlp.down')]).size,
      ).toBe(4);
    },
    300_000,
  );

  it('folds the scales of SmoothQuant into norms and weights', async () => {
    const output = stack.output('smoothed');
    const changes = {
      recipe: { method: 'rtn', activations: 'int8' },
      scaling: 'smoothquant',
      evaluation: null,
    } as const;
    await stack.run(spec(output, changes), 'smoothed');
    const [found, source] = [await openCheckpoint(output), await openCheckpoint(resolveModelDirectory('demo'))];
    const norm = 'model.layers.1.input_layernorm.weight';
    const [gain, before] = [await found.float(norm), await source.float(norm)];
    const scales = before.data.map((value, at) => value / (gain.data[at] as number));
    expect(Math.max(...scales) / Math.min(...scales)).toBeGreaterThan(1.5);
    const weight = 'model.layers.1.self_attn.q_proj.weight';
    const [own, original] = [(await found.float(weight)).data, (await source.float(weight)).data];
    const largest = original.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const off = own.reduce((most, value, at) => {
      const scale = scales[at % scales.length] as number;
      return Math.max(most, Math.abs(value / scale - (original[at] as number)) / largest);
    }, 0);
    expect(off).toBeLessThan(0.03);
  }, 300_000);
});
