import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import type { Tensor } from '../../spec';
import type { LinearSettings, LinearStorage } from '../linear-storage';
import { CODES, COLUMN_ORDER, int64Values, readPacked, SCALES, SHAPE, ZERO_POINTS } from './nbits-tensors';
import { type StoredBits, storedBits } from './nbits-weight';
import { readRawNBits } from './raw-nbits';

/** What a linear of this width is stored as. The tensors say how many columns a block has. */
export function nbitsSettings(bits: StoredBits, symmetric: boolean): LinearSettings {
  return { bits, groupSize: 0, symmetric, layout: 'MatMulNBits' };
}

/** Linears as the inputs of MatMulNBits, in models that Quantloom wrote. */
export const onnxStorage: LinearStorage = {
  method: 'onnx',
  grids: ['affine'],
  parts: [CODES[4], CODES[2], CODES[8], SCALES, ZERO_POINTS, SHAPE, COLUMN_ORDER],
  markers: Object.values(CODES),
  settingsFor: ({ bits, symmetric }) => nbitsSettings(storedBits(bits), symmetric),

  async shape(_settings, _shapeOf, read) {
    const [rows = 0, columns = 0] = int64Values((await read(SHAPE)) as Tensor);
    return [rows, columns];
  },

  tensors: ({ bits }, [rows, columns]) => ({
    [CODES[bits as StoredBits]]: { shape: [rows, null, null], dtypes: ['U8'] },
    [SCALES]: { shape: [rows, null], dtypes: ['F32'] },
    [ZERO_POINTS]: { shape: [rows, null], dtypes: ['U8'], optional: true },
    [SHAPE]: { shape: [2], dtypes: ['I64'] },
    [COLUMN_ORDER]: { shape: [columns], dtypes: ['I64'], optional: true },
  }),

  async read(module, { where, settings, read }): Promise<AffineLinear> {
    const packed = await readPacked(module, where, (part) => read(`${module}.${part}`));
    const { rows, columns, bits, blockSize, weight, scales, columnOrder } = packed;
    const blocks = scales.length / rows;
    const codes = new Uint8Array(rows * columns);
    const groupOf = new Int32Array(columns);
    for (let at = 0; at < columns; at++) {
      const column = columnOrder?.[at] ?? at;
      groupOf[column] = Math.floor(at / blockSize);
      for (let row = 0; row < rows; row++) codes[row * columns + column] = code(weight, row * blocks * blockSize + at);
    }
    const zeros = new Uint8Array(rows * blocks).fill(2 ** (bits - 1));
    const zeroBytes = (packed.zeroPoints?.length ?? 0) / rows;
    if (packed.zeroPoints) {
      for (let i = 0; i < zeros.length; i++) {
        const at = Math.floor(i / blocks) * zeroBytes * (8 / bits) + (i % blocks);
        zeros[i] = code(packed.zeroPoints, at);
      }
    }
    const { symmetric } = settings;
    return { kind: 'affine', rows, columns, bits, groupSize: blockSize, symmetric, codes, scales, zeros, groupOf };

    function code(bytes: Uint8Array, index: number): number {
      const bit = index * bits;
      return ((bytes[bit >>> 3] as number) >>> (bit & 7)) & (2 ** bits - 1);
    }
  },

  readRaw: readRawNBits,
};
