import { QuantloomError } from '../../../spec';
import { BLOCK_TYPE_NAMES, type BlockType, type BlockTypeName } from './block-type';
import { bf16, f16, f32 } from './float-blocks';
import { iq4_nl } from './iq4-nl';
import { iq4_xs } from './iq4-xs';
import { mxfp4 } from './mxfp4';
import { q2_k } from './q2-k';
import { q3_k } from './q3-k';
import { q4_0 } from './q4-0';
import { q4_1 } from './q4-1';
import { q4_k } from './q4-k';
import { q5_0 } from './q5-0';
import { q5_1 } from './q5-1';
import { q5_k } from './q5-k';
import { q6_k } from './q6-k';
import { q8_0 } from './q8-0';
import { tq1_0 } from './tq1-0';
import { tq2_0 } from './tq2-0';

/** Every block type that can be read and written. */
export const BLOCK_TYPES: Readonly<Record<BlockTypeName, BlockType>> = {
  F32: f32,
  F16: f16,
  BF16: bf16,
  Q4_0: q4_0,
  Q4_1: q4_1,
  Q5_0: q5_0,
  Q5_1: q5_1,
  Q8_0: q8_0,
  Q2_K: q2_k,
  Q3_K: q3_k,
  Q4_K: q4_k,
  Q5_K: q5_k,
  Q6_K: q6_k,
  IQ4_NL: iq4_nl,
  IQ4_XS: iq4_xs,
  TQ1_0: tq1_0,
  TQ2_0: tq2_0,
  MXFP4: mxfp4,
};

const BY_ID = new Map(BLOCK_TYPE_NAMES.map((name) => [BLOCK_TYPES[name].id, BLOCK_TYPES[name]]));

/** The entry of a `ggml_type`; null when it cannot be read here. */
export function blockTypeOfId(id: number): BlockType | null {
  return BY_ID.get(id) ?? null;
}

/**
 * Bytes of a tensor whose rows have `columns` weights.
 *
 * @throws QuantloomError UnsupportedInput when rows are not a whole number of blocks.
 */
export function blockBytesOf(type: BlockType, rows: number, columns: number): number {
  if (columns % type.blockSize !== 0) {
    throw new QuantloomError(
      'UnsupportedInput',
      `${type.name} stores blocks of ${type.blockSize} weights, but a row has ${columns}. Choose a type with smaller blocks (Q8_0, Q5_0 and Q4_0 have 32).`,
      { details: { type: type.name, columns } },
    );
  }
  return rows * (columns / type.blockSize) * type.blockBytes;
}
