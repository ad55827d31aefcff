import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import { QuantloomError } from '../../spec';

/** Widths that the operator stores. Codes of other widths go into the next one, unchanged in what they stand for. */
export type StoredBits = 2 | 4 | 8;

/** Kernels are written for blocks from 16 to 256. */
const SMALLEST_BLOCK = 16;
const LARGEST_BLOCK = 256;

/** The constants of a MatMulNBits node. */
export interface NBitsWeight {
  /** N of the operator. */
  readonly rows: number;
  /** K of the operator. */
  readonly columns: number;
  readonly bits: StoredBits;
  /** Columns that share a scale, a power of two from 16 to 256. */
  readonly blockSize: number;
  /** `[rows, blocks, blockSize * bits / 8]`, `blocks = ceil(columns / blockSize)`: codes along the columns, from the lowest bit of a byte up. */
  readonly weight: Uint8Array;
  /** `[rows, blocks]`. */
  readonly scales: Float32Array;
  /** `[rows, ceil(blocks * bits / 8)]`, packed like the codes; null: 2^(bits-1) everywhere. */
  readonly zeroPoints: Uint8Array | null;
  /** `[columns]`: the column of the source that stands at each place; null: in order. The input's features have to be put in this order. */
  readonly columnOrder: Int32Array | null;
}

export function storedBits(bits: number): StoredBits {
  return bits <= 2 ? 2 : bits <= 4 ? 4 : 8;
}

/**
 * Lays a quantized weight out as the inputs B, scales and zero_points of com.microsoft.MatMulNBits version 1 (ContribOperators.md of
 * onnxruntime). Exact: the operator computes `(code - zero point) * scale` from the same numbers.
 *
 * Groups that are no power of two are cut into blocks that are, with the scale repeated. Columns in dynamic act-order are sorted by
 * group. The codes of columns that fill up the last block stand for zero.
 *
 * @throws QuantloomError UnsupportedInput when groups are not blocks of 16 columns or more, naming module and size.
 */
export function nbitsWeight(module: string, linear: AffineLinear): NBitsWeight {
  const { rows, columns, codes, scales, zeros } = linear;
  const groups = scales.length / rows;
  const blockSize = requireBlockSize(module, linear);
  const blocks = Math.ceil(columns / blockSize);
  const columnOrder = orderByGroup(module, linear);
  const bits = storedBits(linear.bits);
  const isSymmetric = linear.symmetric && zeros.every((zero) => zero === 2 ** (linear.bits - 1));
  // What is stored is `code + shift`, so that the zero point is the one that needs no saying.
  const shift = isSymmetric ? 2 ** (bits - 1) - 2 ** (linear.bits - 1) : 0;
  const perByte = 8 / bits;

  const weight = new Uint8Array((rows * blocks * blockSize) / perByte);
  const blockScales = new Float32Array(rows * blocks);
  const zeroBytes = Math.ceil((blocks * bits) / 8);
  const zeroPoints = isSymmetric ? null : new Uint8Array(rows * zeroBytes);
  for (let row = 0; row < rows; row++) {
    for (let block = 0; block < blocks; block++) {
      const group = row * groups + (groups === 1 ? 0 : Math.floor((block * blockSize) / linear.groupSize));
      const zero = zeros[group] as number;
      blockScales[row * blocks + block] = scales[group] as number;
      if (zeroPoints) setCode(zeroPoints, row * zeroBytes * perByte + block, zero, bits);
      const first = block * blockSize;
      const end = Math.min(first + blockSize, columns);
      const target = (row * blocks + block) * blockSize;
      for (let at = first; at < end; at++) {
        const column = columnOrder ? (columnOrder[at] as number) : at;
        setCode(weight, target + at - first, (codes[row * columns + column] as number) + shift, bits);
      }
      for (let at = end; at < first + blockSize; at++) setCode(weight, target + at - first, zero + shift, bits);
    }
  }
  return { rows, columns, bits, blockSize, weight, scales: blockScales, zeroPoints, columnOrder };
}

function setCode(bytes: Uint8Array, index: number, code: number, bits: StoredBits): void {
  const at = index * bits;
  bytes[at >>> 3] = (bytes[at >>> 3] as number) | (code << (at & 7));
}

/**
 * Columns of a block for groups of this size (columns or more: one group): the largest that the operator takes. null: groups cannot be cut into blocks.
 */
export function blockSizeOf({ columns, groupSize }: Pick<AffineLinear, 'columns' | 'groupSize'>): number | null {
  if (groupSize >= columns) return Math.min(LARGEST_BLOCK, Math.max(nextPowerOfTwo(columns), SMALLEST_BLOCK));
  // The lowest bit that is set: the largest power of two that divides it.
  const divisor = groupSize & -groupSize;
  return divisor >= SMALLEST_BLOCK ? Math.min(LARGEST_BLOCK, divisor) : null;
}

function requireBlockSize(module: string, linear: AffineLinear): number {
  const blockSize = blockSizeOf(linear);
  if (blockSize !== null) return blockSize;
  const { groupSize } = linear;
  throw refused(
    module,
    `groups of ${groupSize} columns cannot be cut into blocks of a power of two of at least ${SMALLEST_BLOCK} columns, which MatMulNBits needs. ` +
      'Quantize with a group size that is a multiple of 16, or keep the linear in 16 bit (an override with skip).',
    { groupSize },
  );
}

/** null where columns lie in the order of their groups already. */
function orderByGroup(module: string, { columns, groupSize, groupOf }: AffineLinear): Int32Array | null {
  if (groupOf.every((group, column) => group === Math.floor(column / groupSize))) return null;
  const order = Int32Array.from({ length: columns }, (_, column) => column);
  order.sort((a, b) => (groupOf[a] as number) - (groupOf[b] as number) || a - b);
  const misplaced = order.findIndex((column, at) => groupOf[column] !== Math.floor(at / groupSize));
  if (misplaced === -1) return order;
  throw refused(
    module,
    `group ${groupOf[order[misplaced] as number]} does not have ${groupSize} columns; MatMulNBits has groups of one size. Quantize with static act-order or none.`,
    { groupSize },
  );
}

function nextPowerOfTwo(size: number): number {
  return 2 ** Math.ceil(Math.log2(size));
}

function refused(module: string, message: string, details: Record<string, unknown>): QuantloomError {
  return new QuantloomError('UnsupportedInput', `${module}: ${message}`, { details: { module, ...details } });
}
