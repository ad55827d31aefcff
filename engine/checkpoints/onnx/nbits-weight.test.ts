import { InferenceSession, Tensor } from 'onnxruntime-node';
import { GraphBuilder } from '../../graphs/graph-builder';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import { dequantizeLinear } from '../dequantize-linear';
import { nbitsWeight } from './nbits-weight';

const ROWS = 13;

interface Case {
  readonly bits: AffineLinear['bits'];
  readonly groupSize: number;
  readonly symmetric: boolean;
  readonly columns: number;
  /** The group of a column, where columns are not in order. */
  readonly group?: (column: number) => number;
}

/** Codes, scales and zero points of all sizes, without a pattern. */
function linearOf({ bits, groupSize, symmetric, columns, group }: Case): AffineLinear {
  let state = 1;
  const next = (bound: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
  const groups = Math.ceil(columns / groupSize);
  return {
    kind: 'affine',
    rows: ROWS,
    columns,
    bits,
    groupSize,
    symmetric,
    codes: Uint8Array.from({ length: ROWS * columns }, () => next(2 ** bits)),
    scales: Float32Array.from({ length: ROWS * groups }, () => (1 + next(1000)) / 2 ** 14),
    zeros: Uint8Array.from({ length: ROWS * groups }, () => (symmetric ? 2 ** (bits - 1) : next(2 ** bits))),
    groupOf: Int32Array.from({ length: columns }, (_, column) =>
      group ? group(column) : Math.floor(column / groupSize),
    ),
  };
}

/** x `[tokens, columns]` times the weight, by onnxruntime. */
async function product(linear: AffineLinear, x: Float32Array): Promise<Float32Array> {
  const { rows, columns } = linear;
  const { bits, blockSize, weight, scales, zeroPoints, columnOrder } = nbitsWeight('test', linear);
  const builder = new GraphBuilder('product', { opset: 21, irVersion: 10 });
  const constants = { weight, scales, ...(zeroPoints && { zeroPoints }) };
  const blocks = scales.length / rows;
  const shapes = {
    weight: [rows, blocks, weight.length / rows / blocks],
    scales: [rows, blocks],
    zeroPoints: [rows, (zeroPoints?.length ?? 0) / rows],
  };
  const inputs = Object.entries(constants).map(([name, { byteLength: length }]) =>
    builder.external(name, name === 'scales' ? 'F32' : 'U8', shapes[name as keyof typeof shapes], {
      file: name,
      offset: 0,
      length,
    }),
  );
  builder.input('x', ['tokens', columns]);
  const ordered = columnOrder ? builder.node('Gather', ['x', builder.integers([...columnOrder])], { axis: -1n }) : 'x';
  const attributes = { K: BigInt(columns), N: BigInt(rows), bits: BigInt(bits), block_size: BigInt(blockSize) };
  builder.output('y', builder.node('com.microsoft.MatMulNBits', [ordered, ...inputs], attributes), ['tokens', rows]);
  const session = await InferenceSession.create(builder.build(), {
    externalData: Object.entries(constants).map(([path, { buffer, byteOffset, byteLength }]) => ({
      path,
      data: new Uint8Array(buffer, byteOffset, byteLength),
    })),
    intraOpNumThreads: 1,
  });
  try {
    const { y } = await session.run({ x: new Tensor('float32', x, [x.length / columns, columns]) });
    return y?.data as Float32Array;
  } finally {
    await session.release();
  }
}

/** Every unit vector picks a column: the weight as the operator sees it, `[rows, columns]`. */
async function weightSeen(linear: AffineLinear): Promise<Float32Array> {
  const { rows, columns } = linear;
  const units = new Float32Array(columns * columns);
  for (let column = 0; column < columns; column++) units[column * columns + column] = 1;
  const y = await product(linear, units);
  return Float32Array.from(
    { length: rows * columns },
    (_, at) => y[(at % columns) * rows + Math.floor(at / columns)] as number,
  );
}

const ALL: readonly Case[] = [2, 3, 4, 5, 6, 8].flatMap((bits) =>
  [true, false].flatMap((symmetric) =>
    [16, 32, 64, 128, 256].map((groupSize) => ({ bits: bits as Case['bits'], groupSize, symmetric, columns: 512 })),
  ),
);

describe('weights of MatMulNBits, computed by onnxruntime', () => {
  it.each(ALL)('are what was quantized: $bits bit, groups of $groupSize, symmetric $symmetric', async (given) => {
    const linear = linearOf(given);
    expect(await weightSeen(linear)).toEqual(dequantizeLinear(linear).data);
  });

  it.each<Case>([
    { bits: 4, groupSize: 64, symmetric: false, columns: 200 },
    { bits: 8, groupSize: 32, symmetric: true, columns: 100 },
    { bits: 3, groupSize: 128, symmetric: false, columns: 144 },
    { bits: 4, groupSize: 16, symmetric: false, columns: 48 },
  ])('fill up the last block: $columns columns in groups of $groupSize', async (given) => {
    const linear = linearOf(given);
    expect(await weightSeen(linear)).toEqual(dequantizeLinear(linear).data);
  });

  it.each<Case>([
    { bits: 4, groupSize: 576, symmetric: true, columns: 576 },
    { bits: 4, groupSize: 100, symmetric: false, columns: 100 },
    { bits: 8, groupSize: 7, symmetric: false, columns: 7 },
    { bits: 4, groupSize: 96, symmetric: false, columns: 288 },
    { bits: 4, groupSize: 512, symmetric: true, columns: 1024 },
  ])('repeat the scale of a group that is no block: $columns columns in groups of $groupSize', async (given) => {
    const linear = linearOf(given);
    expect(await weightSeen(linear)).toEqual(dequantizeLinear(linear).data);
  });

  it('with columns in dynamic act-order: features of the input follow them', async () => {
    const linear = linearOf({ bits: 4, groupSize: 32, symmetric: false, columns: 128, group: (column) => column % 4 });
    expect(await weightSeen(linear)).toEqual(dequantizeLinear(linear).data);
  });

  it.each([4, 8] as const)('of one token, %s bit: within the rounding of a sum in float32', async (bits) => {
    const linear = linearOf({ bits, groupSize: 32, symmetric: false, columns: 256 });
    const x = Float32Array.from({ length: 256 }, (_, i) => Math.sin(i));
    const y = await product(linear, x);
    const { data } = dequantizeLinear(linear);
    for (let row = 0; row < ROWS; row++) {
      const terms = Array.from(x, (value, column) => value * (data[row * 256 + column] as number));
      const size = terms.reduce((sum, term) => sum + Math.abs(term), 0);
      const exact = terms.reduce((sum, term) => sum + term, 0);
      expect(Math.abs((y[row] as number) - exact)).toBeLessThan(size * 256 * 2 ** -24);
    }
  });
});

describe('nbitsWeight', () => {
  it.each([
    [{ bits: 4, groupSize: 40, symmetric: true, columns: 120 }, /test: groups of 40 columns cannot be cut/],
    [
      {
        bits: 4,
        groupSize: 32,
        symmetric: true,
        columns: 64,
        group: (column: number) => (column === 0 ? 1 : column >> 5),
      },
      /test: group 1 does not have 32 columns/,
    ],
  ] as const)('refuses groups that are no blocks: %j', (given, message) => {
    expect(() => nbitsWeight('test', linearOf(given))).toThrow(
      expect.objectContaining({ code: 'UnsupportedInput', message: expect.stringMatching(message) }),
    );
  });
});
