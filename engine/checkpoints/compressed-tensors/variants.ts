import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import type { MinifloatLinear } from '../../quantizers/grids/minifloat-grid';
import type { Recipe, Tensor } from '../../spec';
import type { ExpectedTensor, LinearDescription, LinearSettings, LinearSource } from '../linear-storage';
import type { RawLinear } from '../verification/raw-linear';
import type { StoredTensors } from '../verification/stored-tensors';
import { readPacked } from './decode-packed';
import { encodePacked } from './encode-packed';
import { groupsOf, type LinearLayout, wordsOf } from './layout';
import { encodePackedFloats, packedFloatTensors, readPackedFloats } from './packed-floats';
import { encodePlain, plainScaleBits, plainTensors, readPlain } from './plain-codes';
import { readRawPacked } from './raw-packed';
import { readRawPackedFloats } from './raw-packed-floats';
import { readRawPlain } from './raw-plain';

/** A way in which linears are stored. */
interface Variant {
  encode(name: string, linear: AffineLinear & MinifloatLinear): Map<string, Tensor>;
  shape(settings: LinearSettings, shapeOf: (part: string) => readonly number[]): readonly [number, number];
  tensors(settings: LinearSettings, shape: readonly [number, number]): Readonly<Record<string, ExpectedTensor>>;
  read(module: string, source: LinearSource): Promise<AffineLinear | MinifloatLinear>;
  readRaw(module: string, stored: StoredTensors, description: LinearDescription): Promise<RawLinear>;
  bitsPerWeight(recipe: Recipe, rows: number, columns: number): number;
}

const SHAPE_BITS = 2 * 64;

const packed: Variant = {
  encode: encodePacked,

  shape({ bits }, shapeOf) {
    const [rows = 0, words = 0] = shapeOf('weight_packed');
    return [rows, (words * 32) / bits];
  },

  tensors({ bits, groupSize, symmetric }, [rows, columns]) {
    const groups = groupsOf(columns, groupSize);
    return {
      weight_packed: { shape: [rows, wordsOf(columns, bits)], dtypes: ['I32'] },
      weight_scale: { shape: [rows, groups], dtypes: ['F16', 'BF16', 'F32'] },
      weight_shape: { shape: [2], dtypes: ['I64'] },
      ...(symmetric ? {} : { weight_zero_point: { shape: [wordsOf(rows, bits), groups], dtypes: ['I32'] } }),
      weight_g_idx: { shape: [columns], dtypes: ['I32'], optional: true },
    };
  },

  read: readPacked,
  readRaw: readRawPacked,

  bitsPerWeight: ({ bits, groupSize, symmetric }, rows, columns) =>
    bits + (groupsOf(columns, groupSize) * (16 + (symmetric ? 0 : bits))) / columns + SHAPE_BITS / (rows * columns),
};

const plain: Variant = {
  encode: encodePlain,
  shape: (_, shapeOf) => shapeOf('weight') as [number, number],
  tensors: plainTensors,
  read: readPlain,
  readRaw: readRawPlain,
  bitsPerWeight: (recipe, rows, columns) => 8 + plainScaleBits(recipe, rows, columns) / (rows * columns),
};

const packedFloats: Variant = {
  encode: encodePackedFloats,

  shape(_, shapeOf) {
    const [rows = 0, pairs = 0] = shapeOf('weight_packed');
    return [rows, 2 * pairs];
  },

  tensors: packedFloatTensors,
  read: readPackedFloats,
  readRaw: readRawPackedFloats,
  bitsPerWeight: ({ bits, groupSize }) => bits + 8 / groupSize,
};

/** Every way that is read and written. */
export const VARIANTS: Readonly<Record<LinearLayout, Variant>> = {
  'pack-quantized': packed,
  'int-quantized': plain,
  'float-quantized': plain,
  'naive-quantized': plain,
  'mxfp4-pack-quantized': packedFloats,
  'nvfp4-pack-quantized': packedFloats,
};
