import { join } from 'node:path';
import fc from 'fast-check';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import type { DType, Tensor } from '../../spec';
import { RawSafetensors } from '../verification/raw-safetensors';
import { decodeLinear } from './decode-linear';
import { encodeLinear } from './encode-linear';
import type { GptqLayout } from './layout';

/** Packed by GPTQModel 7.7.0 (test/oracles/gptq-packing.py). */
const FIXTURES = [
  '2-asymmetric',
  '3-symmetric',
  '3-asymmetric-act-order',
  '3-planar',
  '4-symmetric',
  '4-asymmetric-tail',
  '4-row',
  '4-act-order',
  '5-symmetric',
  '6-asymmetric',
  '7-asymmetric',
  '8-asymmetric',
];

interface Fixture {
  readonly layout: GptqLayout;
  readonly settings: { bits: number; groupSize: number; symmetric: boolean; layout: GptqLayout };
  readonly tensors: Record<string, Tensor>;
}

async function load(name: string): Promise<Fixture> {
  const file = await RawSafetensors.open(join(__dirname, 'fixtures', `${name}.safetensors`));
  try {
    const tensors: Record<string, Tensor> = {};
    for (const [tensor, { dtype, shape }] of file.tensors) {
      tensors[tensor] = { dtype: dtype as DType, shape, data: new Uint8Array(await file.read(tensor)) };
    }
    const { bits, group_size, sym, layout } = file.metadata as Record<string, string>;
    return {
      layout: layout as GptqLayout,
      settings: {
        bits: Number(bits),
        groupSize: Number(group_size),
        symmetric: sym === 'true',
        layout: layout as GptqLayout,
      },
      tensors,
    };
  } finally {
    await file.close();
  }
}

function parts(tensors: Record<string, Tensor>, zeros = 'qzeros') {
  const { qweight, scales, g_idx, [zeros]: qzeros } = tensors as Record<string, Tensor>;
  return { qweight, qzeros, scales, g_idx } as Parameters<typeof decodeLinear>[1];
}

function floats(tensor: Tensor | undefined): number[] {
  return [...new Float32Array((tensor as Tensor).data.slice().buffer)];
}

function dequantized(linear: AffineLinear): number[] {
  const groups = Math.ceil(linear.columns / linear.groupSize);
  return Array.from(linear.codes, (code, i) => {
    const at = Math.floor(i / linear.columns) * groups + (linear.groupOf[i % linear.columns] as number);
    return Math.fround((code - (linear.zeros[at] as number)) * (linear.scales[at] as number)) + 0;
  });
}

describe.each(FIXTURES)('GPTQModel packed %s', (name) => {
  it('is read as the codes, zero points and scales that it was packed from', async () => {
    const { settings, tensors } = await load(name);
    const linear = decodeLinear('m', parts(tensors), settings);
    expect([linear.rows, linear.columns]).toEqual(tensors.codes?.shape);
    expect([...linear.codes]).toEqual([...(tensors.codes as Tensor).data]);
    expect([...linear.zeros]).toEqual([...(tensors.zeros as Tensor).data]);
    expect([...linear.scales]).toEqual(floats(tensors.scale));
    expect(linear.symmetric).toBe(settings.symmetric);
    // GPTQModel multiplies in float16.
    const dense = floats(tensors.dense);
    const limit = Math.max(...dense.map(Math.abs)) * 5e-4;
    expect(Math.max(...dequantized(linear).map((value, i) => Math.abs(value - (dense[i] as number))))).toBeLessThan(
      limit,
    );
  });

  it('is written as the same bytes', async () => {
    const { settings, tensors, layout } = await load(name);
    const written = encodeLinear('m', decodeLinear('m', parts(tensors), settings), layout);
    for (const part of ['qweight', 'qzeros', 'scales', 'g_idx']) {
      const { dtype, shape, data } = written.get(`m.${part}`) as Tensor;
      expect({ part, dtype, shape, data: [...data] }).toEqual({
        part,
        ...tensors[part],
        data: [...(tensors[part] as Tensor).data],
      });
    }
  });
});

describe.each(FIXTURES.filter((name) => !/planar|^[567]/.test(name)))('GPTQModel converted %s to v1', (name) => {
  it('is read and written the same', async () => {
    const { settings, tensors } = await load(name);
    const linear = decodeLinear('m', parts(tensors, 'qzeros_v1'), { ...settings, layout: 'gptq' });
    expect([...linear.zeros]).toEqual([...(tensors.zeros as Tensor).data]);
    expect([...(encodeLinear('m', linear, 'gptq').get('m.qzeros') as Tensor).data]).toEqual([
      ...(tensors.qzeros_v1 as Tensor).data,
    ]);
  });
});

describe('zero points of symmetric files', () => {
  it.each(['4-symmetric', '3-symmetric'])('decide between v1 and v2 when the config is wrong (%s)', async (name) => {
    const { settings, tensors } = await load(name);
    const middle = 2 ** (settings.bits - 1);
    const v2UnderV1 = decodeLinear('m', parts(tensors), { ...settings, layout: 'gptq' });
    const v1UnderV2 = decodeLinear('m', parts(tensors, 'qzeros_v1'), { ...settings, layout: 'gptq_v2' });
    expect(new Set([...v2UnderV1.zeros, ...v1UnderV2.zeros])).toEqual(new Set([middle]));
  });

  it('are 0x77777777 in v1 and 0x88888888 in v2 at 4 bits', async () => {
    const { tensors } = await load('4-symmetric');
    expect(new Set(new Uint32Array(parts(tensors, 'qzeros_v1').qzeros.data.slice().buffer))).toEqual(
      new Set([0x77777777]),
    );
    expect(new Set(new Uint32Array(parts(tensors).qzeros.data.slice().buffer))).toEqual(new Set([0x88888888]));
  });
});

describe('any quantized linear', () => {
  const linears = fc
    .record({
      bits: fc.constantFrom(2, 3, 4, 5, 6, 7, 8),
      rows: fc.constantFrom(32, 64, 96),
      columns: fc.constantFrom(32, 64, 160),
      groupSize: fc.constantFrom(-1, 16, 32, 64),
      layout: fc.constantFrom('gptq', 'gptq_v2', 'gptq_p'),
      seed: fc.integer({ min: 1 }),
    })
    .map(({ bits, rows, columns, groupSize, layout, seed }) => {
      let state = seed;
      const next = (limit: number) => {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        return (state >>> 8) % limit;
      };
      const size = groupSize === -1 ? columns : groupSize;
      const groups = Math.ceil(columns / size);
      const linear: AffineLinear = {
        kind: 'affine',
        rows,
        columns,
        bits: bits as AffineLinear['bits'],
        groupSize: size,
        symmetric: false,
        codes: Uint8Array.from({ length: rows * columns }, () => next(2 ** bits)),
        zeros: Uint8Array.from({ length: rows * groups }, () => 1 + next(2 ** bits - 1)),
        scales: Float32Array.from({ length: rows * groups }, () => (1 + next(2047)) / 2048),
        groupOf: Int32Array.from({ length: columns }, () => next(groups)),
      };
      return { linear, settings: { bits, groupSize, symmetric: false, layout: layout as GptqLayout } };
    });

  it('comes back as it was', () => {
    fc.assert(
      fc.property(linears, ({ linear, settings }) => {
        const tensors = encodeLinear('m', linear, settings.layout);
        const read = parts(Object.fromEntries([...tensors].map(([name, tensor]) => [name.slice(2), tensor])));
        expect(decodeLinear('m', read, settings)).toEqual(linear);
      }),
      { numRuns: 60 },
    );
  });

  it('with a zero point 0 is refused in v1, naming where', () => {
    fc.assert(
      fc.property(linears, ({ linear }) => {
        const zeros = linear.zeros.slice();
        zeros[zeros.length - 1] = 0;
        expect(() => encodeLinear('m', { ...linear, zeros }, 'gptq')).toThrow(
          `zero point of row ${linear.rows - 1}, group ${Math.ceil(linear.columns / linear.groupSize) - 1} is 0`,
        );
      }),
      { numRuns: 5 },
    );
  });
});

describe('a damaged linear', () => {
  it.each([
    ['another group size', { groupSize: 32 }, 'm.qzeros is [2,8], expected [4, 8]'],
    ['other bits', { bits: 8 }, 'expected'],
  ])('is refused: %s', async (_, wrong, message) => {
    const { settings, tensors } = await load('4-symmetric');
    expect(() => decodeLinear('m', parts(tensors), { ...settings, ...wrong })).toThrow(message);
  });

  it('is refused: a column in a group that does not exist', async () => {
    const { settings, tensors } = await load('4-act-order');
    const data = new Uint8Array((tensors.g_idx as Tensor).data);
    new Int32Array(data.buffer)[7] = 4;
    const g_idx = { ...(tensors.g_idx as Tensor), data };
    expect(() => decodeLinear('m', { ...parts(tensors), g_idx }, settings)).toThrow(
      'm.g_idx: column 7 is in group 4, but there are 4 groups',
    );
  });
});
