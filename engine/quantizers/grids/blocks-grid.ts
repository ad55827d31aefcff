import { BLOCK_TYPES } from '../../checkpoints/gguf/blocks/block-types';
import type { QuantizedBlockType } from '../../spec';
import type { Grid } from './grid';

/** Blocks of GGUF as they lie in its files: types whose grids, with scales of scales, are no other kind's. */
export interface BlocksLinear {
  readonly kind: 'blocks';
  readonly rows: number;
  readonly columns: number;
  readonly blockType: QuantizedBlockType;
  /** `[rows, bytes of a row]` */
  readonly blocks: Uint8Array;
}

type Form = Pick<BlocksLinear, 'rows' | 'columns' | 'blockType'>;

/** What gguf-py's dequantizer gives, bit for bit. */
export const blocksGrid: Grid<BlocksLinear> = {
  kind: 'blocks',

  open({ rows, blockType, blocks }) {
    const rowBytes = blocks.length / rows;
    return (first, count, weights) =>
      BLOCK_TYPES[blockType].decode(blocks.subarray(first * rowBytes, (first + count) * rowBytes), weights);
  },

  split: ({ rows, columns, blockType, blocks }) => ({ header: { rows, columns, blockType }, arrays: [blocks] }),

  join(header, take) {
    const { rows, columns, blockType } = header as unknown as Form;
    const { blockSize, blockBytes } = BLOCK_TYPES[blockType];
    return { kind: 'blocks', rows, columns, blockType, blocks: take(((rows * columns) / blockSize) * blockBytes) };
  },
};
