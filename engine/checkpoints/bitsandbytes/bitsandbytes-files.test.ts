import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bytesOf, decodeFloats, float32View } from '../../numbers';
import { parseQuantizedLinear, quantizeLinear, serializeQuantizedLinear } from '../../quantizers';
import { dynamicMap } from '../../quantizers/codebook/dynamic-map';
import { RecipeSchema, type Tensor } from '../../spec';
import { dequantizeLinear, weightSha256 } from '../dequantize-linear';
import { formatOf } from '../formats';
import type { LinearSettings, StoredLinear } from '../linear-storage';
import { parseSafetensors } from '../safetensors';
import type { RawLinear } from '../verification/raw-linear';
import type { StoredTensors } from '../verification/stored-tensors';

const { storage, encodeLinear } = formatOf('bitsandbytes');
const DIRECTORY = join(__dirname, 'fixtures');
const FILES = readdirSync(DIRECTORY).filter((file) => /^(nf4|fp4|int8)/.test(file));

interface Fixture {
  readonly settings: LinearSettings;
  readonly source: Tensor;
  readonly dense: Tensor;
  /** What bitsandbytes saves, by part. */
  readonly stored: Readonly<Record<string, Tensor>>;
}

async function load(file: string): Promise<Fixture> {
  const { tensors } = parseSafetensors(await readFile(join(DIRECTORY, file)), file);
  const { source, dense, ...stored } = Object.fromEntries(tensors) as Record<string, Tensor>;
  const layout = file.slice(0, 3) === 'int' ? 'int8' : file.slice(0, 3);
  const bits = layout === 'int8' ? 8 : 4;
  return { settings: { bits, groupSize: 0, symmetric: true, layout }, source, dense, stored } as Fixture;
}

function read({ settings, stored }: Fixture): Promise<StoredLinear> {
  return storage.read('m', { where: 'there', settings, read: async (name) => stored[name.slice(2)] ?? null });
}

async function readRaw({ settings, stored }: Fixture): Promise<RawLinear> {
  const tensors: StoredTensors = {
    tensors: new Map(Object.entries(stored).map(([name, tensor]) => [`m.${name}`, tensor])),
    read: async (name) => Buffer.from((stored[name.slice(2)] as Tensor).data),
  };
  const description = { describedBy: 'config.json says', settingsOf: () => settings };
  return (await storage.readRaw('m', tensors, description)) as RawLinear;
}

const stateOf = (text: Uint8Array) => JSON.parse(Buffer.from(text).toString());

describe.each(FILES)('bitsandbytes wrote %s', (file) => {
  it('is what our method makes of the same weight, tensor by tensor, bit for bit', async () => {
    const { source, stored, settings } = await load(file);
    const [rows, columns] = source.shape as [number, number];
    const state = Object.entries(stored).find(([part]) => part.includes('quant_state'))?.[1].data;
    const recipe =
      settings.layout === 'int8'
        ? { method: 'llm-int8', bits: 8, groupSize: -1 }
        : {
            method: settings.layout,
            groupSize: stateOf(state as Uint8Array).blocksize,
            doubleQuant: 'weight.nested_absmax' in stored,
          };
    const { linear, report } = await quantizeLinear({
      weight: decodeFloats(source),
      ...{ rows, columns, hessian: null, minimumZero: 0, dtype: source.dtype as 'F32' },
      recipe: RecipeSchema.parse(recipe),
    });
    const own = Object.fromEntries(encodeLinear('m', linear, settings.layout));
    expect(Object.keys(own).sort()).toEqual(
      Object.keys(stored)
        .map((part) => `m.${part}`)
        .sort(),
    );
    for (const [part, { dtype, shape, data }] of Object.entries(stored)) {
      const tensor = own[`m.${part}`] as Tensor;
      expect([part, tensor.dtype, tensor.shape]).toEqual([part, dtype, shape]);
      expect([part, Buffer.from(tensor.data)]).toEqual([part, Buffer.from(data)]);
    }
    expect(report.relativeError).toBeNull();
    expect(report.relativeWeightError).toBeGreaterThan(0);
    expect(report.relativeWeightError).toBeLessThan(settings.layout === 'int8' ? 1e-3 : 0.05);
  });

  it("is read as the weights of bitsandbytes' own dequantization", async () => {
    const fixture = await load(file);
    const { shape, data } = dequantizeLinear(await read(fixture));
    expect(shape).toEqual(fixture.dense.shape);
    // Numbers, not bytes: a zero has either sign.
    expect(data.every((value, at) => value === float32View(fixture.dense.data)[at])).toBe(true);
  });

  it('is decoded to the same weights by the independent decoder', async () => {
    const fixture = await load(file);
    const raw = await readRaw(fixture);
    expect([raw.rows, raw.columns]).toEqual(fixture.dense.shape);
    const dense = float32View(fixture.dense.data);
    const some = raw.rows - 3;
    const rows = [raw.weights(0, 3), raw.weights(3, some, new Float32Array(some * raw.columns))];
    expect(Buffer.concat(rows.map(bytesOf))).toEqual(Buffer.from(bytesOf(dense)));
  });

  it('comes back from the store as it went in', async () => {
    const linear = (await read(await load(file))) as Parameters<typeof weightSha256>[0];
    const back = parseQuantizedLinear(serializeQuantizedLinear(linear));
    expect(back).toEqual(linear);
    expect(weightSha256(back)).toBe(weightSha256(linear));
  });

  it('has the shape and the tensors that its settings imply', async () => {
    const { settings, stored, source } = await load(file);
    const shape = await storage.shape(
      settings,
      (part) => (stored[part] as Tensor).shape,
      async (part) => stored[part] ?? null,
    );
    expect(shape).toEqual(source.shape);
    const expected = storage.tensors(settings, shape);
    for (const [part, tensor] of Object.entries(stored)) {
      expect([part, expected[part]?.dtypes]).toEqual([part, expect.arrayContaining([tensor.dtype])]);
      expect(tensor.shape.map((size, axis) => expected[part]?.shape[axis] ?? size)).toEqual(tensor.shape);
    }
  });
});

test("the 8-bit dynamic map is bitsandbytes'", async () => {
  const { tensors } = parseSafetensors(await readFile(join(DIRECTORY, 'dynamic-map.safetensors')), 'dynamic map');
  expect(Buffer.from(bytesOf(dynamicMap()))).toEqual(Buffer.from((tensors.get('levels') as Tensor).data));
});

describe('damaged tensors', () => {
  const damaged: [string, string, (stored: Record<string, Tensor>) => Record<string, Tensor | undefined>, RegExp][] = [
    ['a tensor that is missing', 'nf4-double', () => ({ 'weight.absmax': undefined }), /m\.weight\.absmax is missing/],
    [
      'codes that are too few',
      'nf4-double',
      ({ weight }) => ({ weight: { ...(weight as Tensor), shape: [12, 1] } }),
      /m\.weight is U8 \[12, 1\], expected U8 \[1920, 1\]/,
    ],
    [
      'a state that is no JSON',
      'fp4-double',
      () => ({
        'weight.quant_state.bitsandbytes__fp4': { dtype: 'U8', shape: [1], data: Uint8Array.of(123) },
      }),
      /bitsandbytes__fp4 is not JSON/,
    ],
    [
      'a block size that no kernel knows',
      'fp4-double',
      () => ({
        'weight.quant_state.bitsandbytes__fp4': {
          dtype: 'U8',
          shape: [1],
          data: Buffer.from('{"quant_type": "fp4", "blocksize": 48, "dtype": "float32", "shape": [40, 96]}'),
        },
      }),
      /bitsandbytes__fp4: blocksize/,
    ],
    [
      'int8 in tiles',
      'int8-float32',
      () => ({ weight_format: { dtype: 'U8', shape: [], data: Uint8Array.of(1) } }),
      /m\.weight_format is 1; 0, row-major, can be read/,
    ],
  ];
  it.each(damaged)('%s', async (_, file, damage, message) => {
    const fixture = await load(`${file}.safetensors`);
    const stored = { ...fixture.stored, ...damage({ ...fixture.stored }) } as Record<string, Tensor>;
    await expect(read({ ...fixture, stored })).rejects.toThrow(message);
  });
});
