import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { bytesOf } from '../../numbers';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import type { DType, Tensor } from '../../spec';
import { dequantizeLinear } from '../dequantize-linear';
import type { LinearSettings } from '../linear-storage';
import { RawSafetensors } from '../verification/raw-safetensors';
import type { StoredTensors } from '../verification/stored-tensors';
import { awqStorage } from './awq-storage';
import { encodeLinear } from './encode-linear';

/** Packed and dequantized by GPTQModel 7.7 (test/oracles/awq-packing.py). */
const FIXTURES = join(__dirname, 'fixtures');
const FILES = readdirSync(FIXTURES).filter((name) => name.endsWith('.safetensors'));
const PARTS = ['qweight', 'qzeros', 'scales'];

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
    const groupSize = Number(raw.metadata.group_size);
    return { settings: { bits: 4, groupSize, symmetric: false, layout: 'gemm' }, tensors };
  } finally {
    await raw.close();
  }
}

async function read({ settings, tensors }: Fixture): Promise<AffineLinear> {
  const source = { where: 'there', settings, read: async (name: string) => tensors[name.slice(2)] ?? null };
  return (await awqStorage.read('m', source)) as AffineLinear;
}

function readRaw({ settings, tensors }: Fixture) {
  const stored: StoredTensors = {
    tensors: new Map(Object.entries(tensors).map(([name, tensor]) => [`m.${name}`, tensor])),
    read: async (name) => Buffer.from((tensors[name.slice(2)] as Tensor).data),
  };
  return awqStorage.readRaw('m', stored, { describedBy: 'config.json says', settingsOf: () => settings });
}

describe.each(FILES)('GPTQModel wrote %s', (file) => {
  it('is read as the codes and zero points that it was packed from, and the weights that GPTQModel gives', async () => {
    const fixture = await load(file);
    const { codes, zeros, dense } = fixture.tensors as Record<string, Tensor>;
    const linear = await read(fixture);
    expect([linear.rows, linear.columns]).toEqual(codes?.shape);
    expect(linear.codes).toEqual(codes?.data);
    expect(linear.zeros).toEqual(zeros?.data);
    expect(linear.symmetric).toBe(file.startsWith('symmetric'));
    expect(bytesOf(dequantizeLinear(linear).data)).toEqual(dense?.data);
  });

  it('is decoded to the same weights by the independent decoder', async () => {
    const fixture = await load(file);
    const raw = await readRaw(fixture);
    const { dense, zeros } = fixture.tensors as Record<string, Tensor>;
    expect([raw.rows, raw.columns]).toEqual(dense?.shape);
    expect([...(raw.zeros?.values ?? [])].sort()).toEqual([...(zeros?.data ?? [])].sort());
    const some = raw.rows - 7;
    const rows = [raw.weights(0, 7), raw.weights(7, some, new Float32Array(some * raw.columns))];
    expect(Buffer.concat(rows.map(bytesOf))).toEqual(Buffer.from(dense?.data as Uint8Array));
  });

  it('has the shape and the tensors that its settings imply', async () => {
    const { settings, tensors } = await load(file);
    const shape = awqStorage.shape(settings, (part) => (tensors[part] as Tensor).shape);
    expect(shape).toEqual(tensors.dense?.shape);
    for (const [part, expected] of Object.entries(awqStorage.tensors(settings, shape))) {
      expect([part, tensors[part]?.shape]).toEqual([part, expected.shape]);
    }
  });

  it('is written again byte for byte', async () => {
    const fixture = await load(file);
    const written = encodeLinear('m', await read(fixture));
    expect([...written.keys()]).toEqual(PARTS.map((part) => `m.${part}`));
    for (const part of PARTS) {
      const { dtype, shape, data } = fixture.tensors[part] as Tensor;
      const own = written.get(`m.${part}`) as Tensor;
      expect([part, own.dtype, own.shape]).toEqual([part, dtype, shape]);
      expect(Buffer.from(own.data)).toEqual(Buffer.from(data));
    }
  });
});

describe('a damaged AWQ linear', () => {
  it('is refused by the name of the tensor', async () => {
    const { settings, tensors } = await load('asymmetric.safetensors');
    const { scales: _, ...without } = tensors;
    await expect(read({ settings, tensors: without })).rejects.toThrow('m.scales is missing');
    const other = { ...settings, groupSize: 64 };
    await expect(read({ settings: other, tensors })).rejects.toThrow('m.qzeros is [4,5], expected [2,5]');
    await expect(readRaw({ settings: other, tensors })).rejects.toThrow('groups of 32 columns, config.json says 64');
    await expect(read({ settings: { ...settings, groupSize: 48 }, tensors })).rejects.toThrow('m.qweight is [128,5]');
  });
});
