import { roundToFloat16 } from '../../numbers';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import { QuantloomError } from '../../spec';
import { BLOCK_TYPES } from './blocks/block-types';
import { packFiveBits } from './blocks/five-bits';
import { writeHalf } from './blocks/half-bytes';
import { packNibbles } from './blocks/q4-0';

type Grid = Pick<AffineLinear, 'bits' | 'symmetric'> & {
  /** -1: one group a row. */
  readonly groupSize: number;
};

/** Block types whose grid is one of a quantizer's, group by group. */
export type GridBlockTypeName = 'Q4_0' | 'Q4_1' | 'Q5_0' | 'Q5_1' | 'Q8_0';

const SIZE = 32;
const codes = new Uint8Array(SIZE);

/** Which type holds codes of this many bits, the smallest first. */
const TYPES: readonly {
  readonly bits: number;
  readonly symmetric: GridBlockTypeName;
  readonly asymmetric?: GridBlockTypeName;
}[] = [
  { bits: 4, symmetric: 'Q4_0', asymmetric: 'Q4_1' },
  { bits: 5, symmetric: 'Q5_0', asymmetric: 'Q5_1' },
  { bits: 8, symmetric: 'Q8_0' },
];

/** The block type on whose grid this recipe lies, or why there is none, and what to do. */
export function gridBlockType(grid: Grid, columns: number): { type: GridBlockTypeName } | { refusal: string } {
  const groupSize = grid.groupSize === -1 ? columns : grid.groupSize;
  if (columns % SIZE !== 0) {
    return { refusal: `its rows have ${columns} weights, and GGUF's blocks hold ${SIZE}; keep this linear in 16 bit` };
  }
  if (groupSize % SIZE !== 0) {
    return { refusal: `its groups have ${groupSize} weights; GGUF's blocks need a multiple of ${SIZE}` };
  }
  const entry = TYPES.find(({ bits }) => grid.bits <= bits);
  const type = grid.symmetric ? entry?.symmetric : entry?.asymmetric;
  if (type !== undefined) return { type };
  return {
    refusal: `GGUF has no block type for ${grid.bits} bit with zero points; make it symmetric, or choose up to 5 bit`,
  };
}

/**
 * A quantized weight as GGUF blocks. The codes stay what they are, so nothing is quantized twice.
 *
 * Lossless, `decode` giving `(code - zero) · scale` bit for bit, where the grid is symmetric: scales are float16 already (Q4_0,
 * Q5_0, Q8_0). With zero points (Q4_1, Q5_1) a block holds `-scale · zero` as float16: exact where that product has 11 significant
 * bits, else off by at most 2⁻¹¹ of it, which is zero / 2048 steps of the grid.
 *
 * @returns blocks row after row, and whether they are lossless.
 * @throws QuantloomError UnsupportedInput naming what does not fit: grid or order of columns.
 */
export function encodeLinearBlocks(
  name: string,
  linear: AffineLinear,
): { readonly type: GridBlockTypeName; readonly blocks: Uint8Array; readonly lossless: boolean } {
  const { rows, columns, groupOf, groupSize } = linear;
  const found = gridBlockType(linear, columns);
  if ('refusal' in found) throw refused(name, found.refusal);
  if (groupOf.some((group, column) => group !== Math.floor(column / groupSize))) {
    throw refused(
      name,
      'its columns are in groups by their activations (act-order without static groups), and blocks hold neighbours',
    );
  }
  const { blockBytes } = BLOCK_TYPES[found.type];
  const groups = linear.scales.length / rows;
  const blocks = new Uint8Array(((rows * columns) / SIZE) * blockBytes);
  let lossless = true;
  for (let first = 0, at = 0; first < rows * columns; first += SIZE, at += blockBytes) {
    const row = Math.floor(first / columns);
    const group = row * groups + Math.floor((first % columns) / groupSize);
    const scale = linear.scales[group] as number;
    const zero = linear.zeros[group] as number;
    writeHalf(blocks, at, scale);
    for (let i = 0; i < SIZE; i++) codes[i] = linear.codes[first + i] as number;
    if (!PACKERS[found.type](codes, blocks, at, scale, zero)) lossless = false;
  }
  return { type: found.type, blocks, lossless };
}

type Packer = (found: Uint8Array, blocks: Uint8Array, at: number, scale: number, zero: number) => boolean;

/** Fill a block behind its scale; return whether it says exactly what the codes do. */
const PACKERS: Readonly<Record<GridBlockTypeName, Packer>> = {
  Q4_0(found, blocks, at, _, zero) {
    moveCodes(found, 8 - zero);
    packNibbles(found, blocks, at);
    return true;
  },
  Q5_0(found, blocks, at, _, zero) {
    moveCodes(found, 16 - zero);
    packFiveBits(found, blocks, at + 2);
    return true;
  },
  Q8_0(found, blocks, at, _, zero) {
    // -128 too, which ggml's own encoder never writes: its products are sums in 32 bits, in which it fits.
    for (let i = 0; i < SIZE; i++) blocks[at + 2 + i] = (found[i] as number) - zero;
    return true;
  },
  Q4_1(found, blocks, at, scale, zero) {
    for (let j = 0; j < 16; j++) blocks[at + 4 + j] = (found[j] as number) | ((found[j + 16] as number) << 4);
    return writeShift(blocks, at, scale, zero);
  },
  Q5_1(found, blocks, at, scale, zero) {
    packFiveBits(found, blocks, at + 4);
    return writeShift(blocks, at, scale, zero);
  },
};

/** Codes of fewer bits than the type's have their middle elsewhere. */
function moveCodes(found: Uint8Array, by: number): void {
  for (let i = 0; i < SIZE; i++) found[i] = (found[i] as number) + by;
}

function writeShift(blocks: Uint8Array, at: number, scale: number, zero: number): boolean {
  writeHalf(blocks, at + 2, roundToFloat16(-scale * zero));
  return roundToFloat16(-scale * zero) === -scale * zero;
}

function refused(name: string, reason: string): QuantloomError {
  return new QuantloomError('UnsupportedInput', `${name} cannot be stored in GGUF as it is: ${reason}.`, {
    details: { name },
  });
}
