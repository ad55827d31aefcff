import type { Stretch } from './fit-scale';
import { assignCodes, fitShiftedScale } from './fit-shifted-scale';
import { writeHalf } from './half-bytes';
import { fillWeighting } from './weighting';

const SIZE = 32;
const stretch: Stretch = {
  x: new Float64Array(SIZE),
  weighting: new Float64Array(SIZE),
  start: 0,
  count: SIZE,
};
const codes = new Uint8Array(SIZE);
const found = { scale: 0, shift: 0 };

export interface ShiftedBlocksSearch {
  readonly values: Float32Array;
  readonly blocks: Uint8Array;
  readonly importance: Float32Array | undefined;
  readonly highest: number;
  readonly blockBytes: number;
  /** Stores 32 codes in the block at `at`, behind its two numbers. */
  pack(codes: Uint8Array, blocks: Uint8Array, at: number): void;
}

/** Encodes blocks of 32 that are `x = d q + m` with leading float16 d and m (Q4_1, Q5_1) with the least weighted error found. */
export function searchShiftedBlocks(search: ShiftedBlocksSearch): void {
  const { values, blocks, importance, highest, blockBytes, pack } = search;
  for (let at = 0, first = 0; first < values.length; at += blockBytes, first += SIZE) {
    for (let i = 0; i < SIZE; i++) stretch.x[i] = values[first + i] as number;
    fillWeighting(stretch.weighting, importance, first, SIZE);
    fitShiftedScale(stretch, highest, false, found);
    const scale = writeHalf(blocks, at, found.scale);
    const shift = writeHalf(blocks, at + 2, found.shift);
    assignCodes(stretch, scale, shift, highest, codes);
    pack(codes, blocks, at);
  }
}
