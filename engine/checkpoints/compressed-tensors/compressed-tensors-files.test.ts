import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { bytesOf } from '../../numbers';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import type { DType, Tensor } from '../../spec';
import { dequantizeLinear } from '../dequantize-linear';
import type { LinearSettings } from '../linear-storage';
import { RawSafetensors } from '../verification/raw-safetensors';
import type { StoredTensors } from '../verification/stored-tensors';
import { compressedTensorsStorage } from './compressed-tensors-storage';
import { encodePacked } from './encode-packed';
import { readConfig } from './read-config';

/** Compressed and decompressed by compressed-tensors 0.19 (test/oracles/compressed-tensors-packing.py). */
const FIXTURES = join(__dirname, 'fixtures');
const FILES = readdirSync(FIXTURES).filter((name) => name.endsWith('.safetensors'));
const { describe: _, ...storage } = compressedTensorsStorage;

interface Fixture {
  readonly settings: LinearSettings;
  readonly tensors: Readonly<Record<string, Tensor>>;
}

async function load(file: string): Promise<Fixture> {
  const raw = await RawSafetensors.open(join(FIXTURES, file));
  try {
    const tensors: Record<string, Tensor> = {};
    for (const [name, { dtype, shape }] of raw.tensors) {
      tensors[name] = { dtype: dtype as DType, shape, data: new Uint8Array(await raw.read(name)) };
    }
    const { bits, group_size: groupSize, symmetric } = raw.metadata;
    const settings = {
      bits: Number(bits),
      groupSize: Number(groupSize),
      symmetric: symmetric === 'true',
      layout: 'pack-quantized',
    };
    return { settings, tensors };
  } finally {
    await raw.close();
  }
}

async function read({ settings, tensors }: Fixture): Promise<AffineLinear> {
  const source = { where: 'there', settings, read: async (name: string) => tensors[name.slice(2)] ?? null };
  return (await storage.read('m', source)) as AffineLinear;
}

function readRaw({ settings, tensors }: Fixture) {
  const stored: StoredTensors = {
    tensors: new Map(Object.entries(tensors).map(([name, tensor]) => [`m.${name}`, tensor])),
    read: async (name) => Buffer.from((tensors[name.slice(2)] as Tensor).data),
  };
  return storage.readRaw('m', stored, { describedBy: 'config.json says', settingsOf: () => settings });
}

describe.each(FILES)('compressed-tensors wrote %s', (file) => {
  it('is read as the codes and zero points that it was packed from, and the weights that its own decompression gives', async () => {
    const fixture = await load(file);
    const { codes, zeros, dense } = fixture.tensors as Record<string, Tensor>;
    const linear = await read(fixture);
    expect([linear.rows, linear.columns]).toEqual(codes?.shape);
    expect(linear.codes).toEqual(codes?.data);
    expect(linear.zeros).toEqual(zeros?.data);
    expect(bytesOf(dequantizeLinear(linear).data)).toEqual(dense?.data);
  });

  it('is decoded to the same weights by the independent decoder', async () => {
    const fixture = await load(file);
    const raw = await readRaw(fixture);
    const { dense } = fixture.tensors as Record<string, Tensor>;
    expect([raw.rows, raw.columns]).toEqual(dense?.shape);
    const some = raw.rows - 7;
    const rows = [raw.weights(0, 7), raw.weights(7, some, new Float32Array(some * raw.columns))];
    expect(Buffer.concat(rows.map(bytesOf))).toEqual(Buffer.from(dense?.data as Uint8Array));
  });

  it('has the shape and the tensors that its settings imply', async () => {
    const { settings, tensors } = await load(file);
    const shape = storage.shape(settings, (part) => (tensors[part] as Tensor).shape);
    expect(shape).toEqual(tensors.codes?.shape);
    const expected = storage.tensors(settings, shape);
    const { codes, zeros, dense, ...stored } = tensors;
    for (const [part, tensor] of Object.entries(stored)) {
      expect([part, expected[part]?.shape]).toEqual([part, tensor.shape]);
      expect(expected[part]?.dtypes).toContain(tensor.dtype);
    }
    const needed = Object.keys(expected).filter((part) => !expected[part]?.optional);
    expect(Object.keys(stored)).toEqual(expect.arrayContaining(needed));
  });
});

describe.each(FILES.filter((file) => !/float|act-order/.test(file)))('compressed-tensors wrote %s', (file) => {
  it('is written as the same bytes', async () => {
    const fixture = await load(file);
    const { codes, zeros, dense, ...stored } = fixture.tensors;
    const written = encodePacked('m', await read(fixture));
    expect([...written.keys()].sort()).toEqual(
      Object.keys(stored)
        .map((part) => `m.${part}`)
        .sort(),
    );
    for (const [part, { dtype, shape, data }] of Object.entries(stored)) {
      const own = written.get(`m.${part}`) as Tensor;
      expect({ part, dtype: own.dtype, shape: own.shape }).toEqual({ part, dtype, shape });
      expect(new Uint8Array(own.data)).toEqual(data);
    }
  });
});

interface Described {
  readonly config: Record<string, unknown>;
  readonly modules: Readonly<Record<string, Omit<LinearSettings, 'layout'> | null>>;
}
const CONFIGS: Record<string, Described> = JSON.parse(readFileSync(join(FIXTURES, 'configs.json'), 'utf8'));

describe('a config of compressed-tensors', () => {
  it.each(Object.entries(CONFIGS))('says of every module what it says there: %s', (_, { config, modules }) => {
    const { settingsOf } = readConfig(config);
    const found = Object.keys(modules).map((module) => [module, settingsOf(module)]);
    const expected = Object.entries(modules).map(([module, settings]) => [
      module,
      settings && { ...settings, layout: 'pack-quantized' },
    ]);
    expect(found).toEqual(expected);
  });

  const base = (CONFIGS['W4A16 but the head'] as Described).config;
  const group = (base.config_groups as Record<string, Record<string, unknown>>).group_0 as Record<string, unknown>;
  const withGroup = (fields: object) => ({ ...base, config_groups: { group_0: { ...group, ...fields } } });
  const withWeights = (fields: object) => withGroup({ weights: { ...(group.weights as object), ...fields } });

  it.each([
    [
      'weights of another format',
      { ...base, format: 'mxfp8-quantized' },
      'config_groups.group_0.format is "mxfp8-quantized"',
    ],
    ['another format of a group', withGroup({ format: 'dense' }), '"dense"'],
    ['a byte for each weight, in groups', withGroup({ format: 'int-quantized' }), '"strategy":"group"'],
    ['floating-point codes', withWeights({ type: 'float' }), 'weights.type is "float"; "int" can be read'],
    ['a block of rows and columns', withWeights({ strategy: 'block', group_size: null }), '"strategy":"block"'],
    ['one scale for all', withWeights({ strategy: 'tensor', group_size: null }), '"strategy":"tensor"'],
    ['too many bits', withWeights({ num_bits: 16 }), 'num_bits is 16; 2 to 8 can be read'],
    [
      'inputs with static scales',
      withGroup({ input_activations: { num_bits: 8 } }),
      'group_0.input_activations is {"type":"int","num_bits":8,"symmetric":true,"dynamic":false',
    ],
    ['a key-value cache', { ...base, kv_cache_scheme: { num_bits: 8 } }, 'kv_cache_scheme'],
    ['transforms', { ...base, transform_config: { config_groups: {} } }, 'transform_config'],
    ['weights that are not packed yet', { ...base, quantization_status: 'frozen' }, 'quantization_status is "frozen"'],
  ])('that has %s is refused, with what to do', (_, config, message) => {
    expect(() => readConfig(config)).toThrow(
      expect.objectContaining({ code: 'UnsupportedInput', message: expect.stringContaining(message) }),
    );
    expect(() => readConfig(config)).toThrow('Dequantize the checkpoint with the compressed-tensors package first.');
  });

  it.each([
    ['no groups', { ...base, config_groups: undefined }],
    ['an expression that is none', { ...base, ignore: ['re:('] }],
    ['bits that are no number', withWeights({ num_bits: 'four' })],
  ])('with %s is invalid', (_, config) => {
    expect(() => readConfig(config)).toThrow(expect.objectContaining({ code: 'InvalidCheckpoint' }));
  });
});

describe('a damaged linear', () => {
  const change = async (file: string, part: string, fields: Partial<Tensor> | null) => {
    const { settings, tensors } = await load(file);
    const { [part]: tensor, ...others } = tensors;
    return { settings, tensors: fields ? { ...others, [part]: { ...(tensor as Tensor), ...fields } } : others };
  };
  const numbers = (...values: number[]) => ({ data: bytesOf(Int32Array.from(values)) });

  it.each([
    ['without scales', '4-symmetric', 'weight_scale', null, 'there: m.weight_scale is missing beside m.weight_packed'],
    ['without zero points', '4-asymmetric-bfloat16', 'weight_zero_point', null, 'm.weight_zero_point is missing'],
    [
      'of another shape',
      '4-symmetric',
      'weight_shape',
      numbers(64, 0, 32, 0),
      'm.weight_shape is [64,32], expected [32,64]',
    ],
    ['with gaps', '3-symmetric', 'weight_packed', { shape: [32, 10] }, 'compressed-tensors before 0.18 left gaps'],
    ['with scales of integers', '4-symmetric', 'weight_scale', { dtype: 'I16' as DType }, 'm.weight_scale is I16'],
    [
      'with other groups',
      '4-symmetric',
      'weight_scale',
      { shape: [16, 4] },
      'm.weight_scale is [16,4], expected [32,2]',
    ],
    [
      'with a column in no group',
      '4-act-order',
      'weight_g_idx',
      numbers(...Array.from({ length: 64 }, (_, column) => (column === 7 ? 2 : 0))),
      'm.weight_g_idx is group 2 for column 7, expected one of 2 groups',
    ],
  ])('%s is refused', async (_, file, part, fields, message) => {
    const fixture = await change(`${file}.safetensors`, part, fields);
    await expect(read(fixture)).rejects.toMatchObject({
      code: 'InvalidCheckpoint',
      message: expect.stringContaining(message),
    });
  });

  it.each([
    ['other bits', '4-symmetric', 'weight_shape', numbers(32, 0, 32, 0), 'the tensors hold 8 bits, config.json says 4'],
    ['other rows', '4-symmetric', 'weight_packed', { shape: [16, 8] }, '16 rows, weight_shape says 32'],
    ['no zero points', '8-asymmetric', 'weight_zero_point', null, 'it lacks zero points'],
  ])('with %s is found out by the independent decoder', async (_, file, part, fields, message) => {
    await expect(readRaw(await change(`${file}.safetensors`, part, fields))).rejects.toThrow(message);
  });

  it('whose g_idx says nothing has sequential groups', async () => {
    const fixture = await load('4-symmetric.safetensors');
    const tensor: Tensor = { dtype: 'I32', shape: [64], ...numbers(...Array(64).fill(-1)) };
    const named = { ...fixture, tensors: { ...fixture.tensors, weight_g_idx: tensor } };
    expect(await read(named)).toEqual(await read(fixture));
    const { weights } = await readRaw(named);
    expect(bytesOf(weights(0, 32))).toEqual(fixture.tensors.dense?.data);
  });
});
