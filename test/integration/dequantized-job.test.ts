import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpoint, parseManifest, verifyCheckpoint } from '../../engine/checkpoints';
import { bytesOf, encodeFloats, transposed } from '../../engine/numbers';
import type { DType, QuantizationSpecInput } from '../../engine/spec';
import { type JobStack, startJobStack } from '../support/job-stack';
import { shortDemo } from '../support/short-demo';
import { weightDigests } from '../support/weight-files';
import { type TinyModelName, tinyModelDirectory } from '../tiny-models';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

describe('a job that writes dequantized weights', () => {
  let stack: JobStack;
  let model: string;

  beforeAll(async () => {
    stack = await startJobStack();
    model = await shortDemo(stack.directory);
  }, 60_000);

  afterAll(() => stack.stop(), 60_000);

  const CASES: readonly [string, Partial<QuantizationSpecInput>, 'gptq_v2' | 'bitsandbytes'][] = [
    [
      'zero points, dynamic act-order, a skip',
      {
        recipe: { bits: 3, groupSize: 32, symmetric: false, actOrder: 'dynamic' },
        overrides: [{ match: 'model.layers.1.*', skip: true }],
      },
      'gptq_v2',
    ],
    ['rotated, the head too', { rotation: 'hadamard', keepHead: false }, 'gptq_v2'],
    ['nf4', { recipe: { method: 'nf4' } }, 'bitsandbytes'],
    ['llm-int8', { recipe: { method: 'llm-int8' } }, 'bitsandbytes'],
  ];

  it.each(CASES)(
    'has the weights that readers of the codes get (%s)',
    async (what, changes, coded) => {
      const id = what.replaceAll(/\W+/g, '-');
      const spec = (output: string): QuantizationSpecInput => ({
        model,
        output: stack.output(output),
        calibration: { source: 'demo', samples: 4, sequenceLength: 64, sliceTokens: 128 },
        quality: 'fast',
        formats: [coded, 'dequantized', 'dequantized-float32'],
        ...changes,
      });
      const outputs = (await stack.run(spec(id), id)).outputs as Record<string, string>;
      const directly = (await quantizeDirect(spec(`direct-${id}`))) as Record<string, string>;
      await expectWeights(outputs, coded, 'BF16');
      for (const format of ['dequantized', 'dequantized-float32']) {
        const directory = outputs[format] as string;
        expect(await weightDigests(directory)).toEqual(await weightDigests(directly[format] as string));
        expect(await verifyCheckpoint(directory)).toMatchObject({ kind: 'dense', passed: true, hasManifest: true });
        const config = JSON.parse(await readFile(join(directory, 'config.json'), 'utf8'));
        expect(config.quantization_config).toBeUndefined();
        expect(config.dtype ?? config.torch_dtype).toBe(format === 'dequantized' ? 'bfloat16' : 'float32');
      }
    },
    180_000,
  );

  it.each<TinyModelName>(['gpt2-tied', 'qwen2-grouped'])(
    'keeps the form of the source (%s)',
    async (name) => {
      const outputs = (await quantizeDirect({
        model: tinyModelDirectory(name),
        output: stack.output(name),
        recipe: { method: 'rtn', bits: 4, groupSize: 32 },
        formats: ['gptq', 'dequantized', 'dequantized-float32'],
      })) as Record<string, string>;
      await expectWeights(outputs, 'gptq', 'F32');
      const source = await openCheckpoint(tinyModelDirectory(name));
      for (const format of ['dequantized', 'dequantized-float32']) {
        const checkpoint = await openCheckpoint(outputs[format] as string);
        expect((await verifyCheckpoint(outputs[format] as string)).passed).toBe(true);
        for (const tensor of checkpoint.names().filter((candidate) => source.has(candidate))) {
          expect([tensor, await checkpoint.shape(tensor)]).toEqual([tensor, await source.shape(tensor)]);
        }
      }
    },
    60_000,
  );

  it('does not verify with another bit in a weight that was quantized', async () => {
    const output = stack.output('damaged');
    await quantizeDirect({ model: 'demo', output, recipe: { method: 'rtn' }, formats: ['dequantized'] });
    const path = join(output, 'model-00001-of-00005.safetensors');
    const bytes = await readFile(path);
    bytes[100_001] = (bytes[100_001] as number) ^ 1;
    await writeFile(path, bytes);
    const { checks } = await verifyCheckpoint(output);
    const failed = checks.filter(({ findingCount }) => findingCount > 0).map(({ name }) => name);
    expect(failed).toEqual(['files are those of the manifest', 'weights are what the quantizer meant']);
  }, 60_000);
});

/** In float32 bit for bit, in the source's dtype rounded to nearest; what was kept stays. */
async function expectWeights(outputs: Readonly<Record<string, string>>, coded: string, dtype: DType): Promise<void> {
  const codes = await openCheckpoint(outputs[coded] as string);
  const [rounded, exact] = await Promise.all(
    ['dequantized', 'dequantized-float32'].map((format) => openCheckpoint(outputs[format] as string)),
  );
  if (!rounded || !exact) throw new Error('not written');
  expect(rounded.names()).toEqual(codes.names());
  const manifest = parseManifest(await readFile(join(outputs.dequantized as string, 'quantloom.json'), 'utf8'));
  let quantized = 0;
  for (const name of codes.names()) {
    const expected = await codes.float(name);
    const isTurned = codes.quantized(name) && manifest.source.architecture === 'gpt2' && name !== 'lm_head.weight';
    const values = isTurned ? transposed(expected.data, expected.shape[0] as number) : expected.data;
    const found = await exact.float(name);
    expect([name, Buffer.compare(bytesOf(found.data), bytesOf(values))]).toEqual([name, 0]);
    const stored = await rounded.stored(name);
    const nearest = encodeFloats(values, dtype as 'BF16' | 'F32');
    expect([name, stored.dtype, Buffer.compare(stored.data, nearest)]).toEqual([name, dtype, 0]);
    if (codes.quantized(name)) quantized++;
  }
  expect(quantized).toBe(Object.values(manifest.linears).filter(({ recipe }) => recipe).length);
}
