import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeFloats, encodeFloats } from '../../numbers';
import { planModel } from '../../planning';
import { type LinearPlan, parseQuantizationSpec, type Recipe, RecipeSchema } from '../../spec';
import { formatOf } from '../formats';
import { openCheckpoint } from '../open-checkpoint';
import { verifyCheckpoint } from '../verify-checkpoint';
import { exportOnnx } from './export-onnx';

const { layout, warn, bitsPerWeight, config } = formatOf('onnx');
const FIXTURE = join(__dirname, 'fixtures', 'untied-bfloat16');

function linear(recipe: Partial<Recipe> | null, columns = 1024): LinearPlan {
  return { name: 'm', rows: 8, columns, bias: false, recipe: recipe && RecipeSchema.parse(recipe) };
}

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quantloom-onnx-format-'));
});
afterEach(() => rm(directory, { recursive: true }));

describe('the plan', () => {
  test('names the model by its smallest width, as transformers.js does', () => {
    expect(layout([linear({ bits: 4 }), linear({ bits: 8 }), linear(null)])).toBe('q4');
    expect(layout([linear({ bits: 5 })])).toBe('q8');
    expect(layout([linear({ bits: 2 }), linear({ bits: 4 })])).toBe('q2');
    expect(layout([linear(null)])).toBe('fp32');
  });

  test('says which widths save nothing, and counts bits as the operator stores them', async () => {
    expect(warn?.([linear({ bits: 4 }), linear({ bits: 8 })])).toBeNull();
    const spec = parseQuantizationSpec({
      model: 'demo',
      output: join(directory, 'out'),
      formats: ['onnx'],
      recipe: { bits: 3, groupSize: 64 },
    });
    const { estimate } = await planModel(spec);
    expect(estimate.refusals).toEqual([]);
    expect(estimate.warnings.join('\n')).toContain('bits 3 in 4, which saves nothing over it');
    // 4 bits, and a float32 for 64 weights.
    expect(bitsPerWeight(linear({ bits: 3, groupSize: 64 }))).toBe(4.5);
    expect(bitsPerWeight(linear({ bits: 8, groupSize: 32, symmetric: false }))).toBe(8 + (32 + 8) / 32);
    // 192 columns fill a block of 256.
    expect(bitsPerWeight(linear({ bits: 8, groupSize: -1 }, 192))).toBe((256 * 8 + 32) / 192);
    expect(bitsPerWeight(linear(null))).toBe(16);
  });

  test('config.json says how many data files there are, and nothing of a quantization', () => {
    const written = config({
      ...{ sourceConfig: { model_type: 'llama', quantization_config: {} }, linears: [], layout: 'q4', order: 'stage' },
      version: '0.1.0',
      weightFiles: ['onnx/model_q4.onnx', 'onnx/model_q4.onnx_data', 'onnx/model_q4.onnx_data_1', 'genai_config.json'],
    });
    expect(written).toEqual({
      model_type: 'llama',
      'transformers.js_config': { dtype: 'q4', use_external_data_format: 2 },
    });
  });
});

describe('a directory', () => {
  test('that the engine exported is read, and verified without a manifest', async () => {
    const source = await openCheckpoint(FIXTURE);
    const { model, data } = await exportOnnx({ from: source, to: join(directory, 'dense') });
    const reader = await openCheckpoint(join(directory, 'dense'));
    expect(reader.names()).toEqual(source.names());
    const sizes = await Promise.all([model, ...data].map(async (file) => (await stat(file)).size));
    expect(reader.weightBytes).toBe(sizes.reduce((sum, size) => sum + size, 0));
    for (const name of source.names()) {
      const { data: expected } = await source.float(name);
      // Matrices are float16, which has 11 bits down to 2^-14 and steps of 2^-24 below.
      const { dtype, data: found, shape } = await reader.stored(name);
      expect([name, dtype]).toEqual([name, shape.length === 1 ? 'F32' : 'F16']);
      const worst = decodeFloats({ dtype, shape, data: found }).reduce((most, value, at) => {
        const meant = expected[at] as number;
        return Math.max(most, Math.abs(value - meant) / (Math.abs(meant) < 2 ** -17 ? 2 ** -25 : 2 ** -149));
      }, 0);
      expect(worst).toBeLessThanOrEqual(1);
    }
    expect(await verifyCheckpoint(join(directory, 'dense'))).toMatchObject({ kind: 'dense', passed: true });
  });

  test('keeps numbers beyond float16 in float32', async () => {
    const source = await openCheckpoint(FIXTURE);
    const large = 2 ** 17;
    const stored = async (name: string) => {
      const tensor = await source.stored(name);
      if (name !== 'model.embed_tokens.weight') return tensor;
      return { ...tensor, data: encodeFloats(decodeFloats(tensor).fill(large, 0, 1), 'BF16') };
    };
    await exportOnnx({ from: { ...source, stored }, to: join(directory, 'large') });
    const { dtype, ...tensor } = await (await openCheckpoint(join(directory, 'large'))).stored(
      'model.embed_tokens.weight',
    );
    expect([dtype, decodeFloats({ dtype, ...tensor })[0]]).toEqual(['F32', large]);
  });

  test('of another producer is refused by name', async () => {
    const { model } = await exportOnnx({ from: await openCheckpoint(FIXTURE), to: join(directory, 'other') });
    const bytes = await readFile(model);
    bytes.write('pytorch!!', bytes.indexOf('quantloom'));
    await writeFile(model, bytes);
    await expect(openCheckpoint(join(directory, 'other'))).rejects.toMatchObject({
      code: 'UnsupportedInput',
      message: expect.stringContaining('it was written by "pytorch!!". Of ONNX models, those that Quantloom wrote'),
    });
  });

  test.each([
    ['cut', (bytes: Buffer) => bytes.subarray(0, bytes.length - 100)],
    ['empty', () => Buffer.alloc(0)],
    ['of text', () => Buffer.from('version https://git-lfs.github.com/spec/v1')],
  ])('with a graph that is %s is neither read nor verified', async (_what, damage) => {
    const { model } = await exportOnnx({ from: await openCheckpoint(FIXTURE), to: join(directory, 'damaged') });
    await writeFile(model, damage(await readFile(model)));
    await expect(openCheckpoint(join(directory, 'damaged'))).rejects.toMatchObject({ name: 'QuantloomError' });
    expect((await verifyCheckpoint(join(directory, 'damaged'))).passed).toBe(false);
  });
});
