import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { tensorsOfFile } from '../../../test/support/tensors-of-file';
import { bytesOf, encodeFloats } from '../../numbers';
import { quantizeLinear } from '../../quantizers';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import type { MinifloatLinear } from '../../quantizers/grids/minifloat-grid';
import {
  type FloatType,
  parseQuantizationSpec,
  type Recipe,
  RecipeSchema,
  recipeOfFloats,
  type Tensor,
} from '../../spec';
import { dequantizeLinear } from '../dequantize-linear';
import type { LinearSettings } from '../linear-storage';
import { compressedTensorsStorage } from './compressed-tensors-storage';
import type { LinearLayout } from './layout';
import { quantizationConfig } from './quantization-config';
import { readConfig } from './read-config';
import { VARIANTS } from './variants';

/** Compressed and decompressed by compressed-tensors 0.19 (test/oracles/compressed-tensors-floats.py). */
const FIXTURES = join(__dirname, 'fixtures', 'floats');
const CASES = readdirSync(FIXTURES)
  .filter((name) => name.endsWith('.safetensors') && name !== 'inputs.safetensors')
  .map((name) => name.replace('.safetensors', ''));

async function load(name: string) {
  const file = await tensorsOfFile(join(FIXTURES, `${name}.safetensors`));
  const { format, floatType, symmetric, strategy } = file.metadata as Record<string, string>;
  const perTensor = strategy === 'tensor' && ({ perTensor: true } as const);
  const form = floatType
    ? { ...recipeOfFloats(floatType as FloatType), floatType: floatType as FloatType }
    : { bits: 8, groupSize: -1, symmetric: symmetric === 'true', ...perTensor };
  const settings: LinearSettings = { ...form, layout: format as string };
  const { source, dense, ...stored } = file.tensors;
  const read = async (tensor: string) => stored[tensor.slice(2)] ?? null;
  return {
    ...file,
    stored,
    settings,
    linear: await compressedTensorsStorage.read('m', { where: 'there', settings, read }),
  };
}

describe.each(CASES)('compressed-tensors wrote %s', (name) => {
  it('is read as the weights that its own decompression gives, by both decoders', async () => {
    const { tensor, stored, settings, linear } = await load(name);
    const { dtype, data } = tensor('dense');
    const weight = dequantizeLinear(linear).data;
    expect(encodeFloats(weight, dtype as 'F32' | 'BF16')).toEqual(data);
    const raw = await compressedTensorsStorage.readRaw(
      'm',
      {
        tensors: new Map(Object.entries(stored).map(([part, found]) => [`m.${part}`, found])),
        read: async (part) => Buffer.from(tensor(part.slice(2)).data),
      },
      { describedBy: 'config.json says', settingsOf: () => settings },
    );
    const some = raw.rows - 7;
    const rows = [raw.weights(0, 7), raw.weights(7, some, new Float32Array(some * raw.columns))];
    expect(Buffer.concat(rows.map(bytesOf))).toEqual(Buffer.from(bytesOf(weight)));
  });

  it('has the tensors that its settings imply', async () => {
    const { stored, settings, linear } = await load(name);
    const expected = compressedTensorsStorage.tensors(settings, [linear.rows, linear.columns]);
    expect(Object.keys(expected).sort()).toEqual(Object.keys(stored).sort());
    for (const [part, { shape, dtypes }] of Object.entries(expected)) {
      expect([part, shape]).toEqual([part, stored[part]?.shape]);
      expect(dtypes).toContain(stored[part]?.dtype);
    }
  });
});

describe.each(CASES.filter((name) => !name.endsWith('asymmetric')))('compressed-tensors wrote %s', (name) => {
  it('is written as the same bytes', async () => {
    const { stored, settings, linear } = await load(name);
    const { encode } = VARIANTS[settings.layout as LinearLayout];
    const written = Object.fromEntries(encode('m', linear as AffineLinear & MinifloatLinear));
    const expected = Object.entries(stored).map(([part, tensor]) => [`m.${part}`, tensor]);
    expect(written).toEqual(Object.fromEntries(expected));
  });
});

describe.each(CASES.filter((name) => !name.startsWith('int8')))('rounding to %s', (name) => {
  it('gives the codes and scales of compressed-tensors from the extremes, bit for bit', async () => {
    const { floats, tensor, settings, linear: theirs } = await load(name);
    const [rows, columns] = tensor('source').shape as [number, number];
    const { floatType } = settings;
    const fields = { method: 'rtn', scales: 'minmax', floatType, ...recipeOfFloats(floatType as FloatType) };
    const recipe = RecipeSchema.parse(fields);
    const weight = floats('source');
    const { linear } = await quantizeLinear({
      weight,
      rows,
      columns,
      hessian: null,
      recipe,
      minimumZero: 0,
      threads: 0,
    });
    expect(linear).toEqual(theirs);
  });
});

const SCHEMES: Record<string, Record<string, unknown>> = JSON.parse(
  readFileSync(join(FIXTURES, 'schemes.json'), 'utf8'),
);

/** What a specification asks for that says only this of the recipe. */
function recipeOf(fields: Partial<Recipe>): Recipe {
  const { activations, ...recipe } = parseQuantizationSpec({ model: 'm', output: 'o', recipe: fields }).recipe;
  return activations === undefined || activations === 'none' ? recipe : { ...recipe, activations };
}

describe.each([
  ['W8A8', { method: 'rtn', activations: 'int8' }],
  ['W8A8-tensor', { method: 'rtn', activations: 'int8', perTensor: true }],
  ['FP8', { method: 'rtn', floatType: 'fp8-tensor', activations: 'fp8-static' }],
  ['FP8_DYNAMIC', { method: 'rtn', floatType: 'fp8' }],
  ['FP8_BLOCK', { method: 'rtn', floatType: 'fp8-block' }],
  ['MXFP4A16', { method: 'rtn', floatType: 'mxfp4' }],
  ['MXFP4', { method: 'rtn', floatType: 'mxfp4', activations: 'mxfp4' }],
  ['NVFP4', { method: 'rtn', floatType: 'nvfp4', activations: 'nvfp4' }],
  ['NVFP4A16', { method: 'rtn', floatType: 'nvfp4' }],
] as const)('the scheme %s', (name, fields) => {
  const recipe = recipeOf(fields);
  const config = SCHEMES[name] as Record<string, unknown>;

  it('is what a config says, field by field', () => {
    const linear = { name: 'model.layers.0.mlp.up_proj', rows: 128, columns: 128, bias: false, recipe };
    const layout = config.format as string;
    const written = quantizationConfig({ linears: [linear], sourceConfig: { model_type: 'llama' }, layout });
    expect(config).toMatchObject(JSON.parse(JSON.stringify(written)));
  });

  it('is read as the recipe', () => {
    const { layout, settingsOf } = readConfig(config);
    expect(layout).toBe(config.format);
    expect(settingsOf('lm_head')).toBeNull();
    expect(settingsOf('model.layers.0.mlp.up_proj')).toEqual(compressedTensorsStorage.settingsFor(recipe));
  });
});

describe('the scheme MXFP8', () => {
  it('is refused by name, not read as something else', () => {
    const refused = { code: 'UnsupportedInput', message: expect.stringMatching(/input_activations|format/) };
    expect(() => readConfig(SCHEMES.MXFP8 as Record<string, unknown>)).toThrow(expect.objectContaining(refused));
  });
});

describe('a static scale of inputs', () => {
  const scale = (value: number, shape = [1]) => ({
    dtype: 'F32' as const,
    shape,
    data: bytesOf(Float32Array.of(value)),
  });
  async function withScale(inputScale: ReturnType<typeof scale> | null) {
    const { stored, settings } = await load('fp8-tensor');
    const tensors: Record<string, Tensor> = { ...stored, ...(inputScale && { input_scale: inputScale }) };
    const given = { ...settings, activations: 'fp8-static' as const };
    const read = async (tensor: string) => tensors[tensor.slice(2)] ?? null;
    return { tensors, settings: given, source: { where: 'there', settings: given, read } };
  }

  it.each([[[1]], [[]]])('is read in the shape %p, by both decoders, and written as it was', async (shape) => {
    const { tensors, settings, source } = await withScale(scale(0.03125, shape));
    const linear = (await compressedTensorsStorage.read('m', source)) as MinifloatLinear;
    expect(linear.inputScale).toBe(0.03125);
    const stored = {
      tensors: new Map(Object.entries(tensors).map(([part, found]) => [`m.${part}`, found])),
      read: async (part: string) => Buffer.from((tensors[part.slice(2)] as Tensor).data),
    };
    const description = { describedBy: 'config.json says', settingsOf: () => settings };
    const raw = await compressedTensorsStorage.readRaw('m', stored, description);
    expect(raw.inputScale?.values).toEqual(Float32Array.of(0.03125));
    const written = VARIANTS['float-quantized'].encode('m', linear as AffineLinear & MinifloatLinear);
    expect(written.get('m.input_scale')).toEqual({ dtype: 'BF16', shape: [1], data: new Uint8Array([0, 0x3d]) });
  });

  it.each([
    ['missing', null, 'there: m.input_scale is missing'],
    ['negative', scale(-1), 'm.input_scale is -1, expected positive'],
    ['no number', scale(Number.NaN), 'm.input_scale is NaN, expected positive'],
  ])('that is %s is refused', async (_, given, message) => {
    const { source } = await withScale(given);
    const refused = { code: 'InvalidCheckpoint', message: expect.stringContaining(message) };
    await expect(compressedTensorsStorage.read('m', source)).rejects.toMatchObject(refused);
  });
});
