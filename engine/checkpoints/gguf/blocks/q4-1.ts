import { FLOAT16_MAX } from '../../../numbers';
import type { BlockType } from './block-type';
import { readHalf, writeHalf } from './half-bytes';
import { integersFrom } from './levels';
import { largest, smallest } from './ranges';
import { searchShiftedBlocks } from './search-shifted-blocks';

const SIZE = 32;
const BYTES = 20;
const float32 = Math.fround;

/** `x = d q + m`: float16 d and m, then 16 bytes of codes as in Q4_0. */
export const q4_1: BlockType = {
  name: 'Q4_1',
  id: 3,
  blockSize: SIZE,
  blockBytes: BYTES,
  // The span of a block is twice as large at most, and d is a fifteenth of it.
  largestMagnitude: FLOAT16_MAX,
  codes: { levels: integersFrom(0, 16), groupSize: SIZE, pack },

  decode(blocks, values) {
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const d = readHalf(blocks, at);
      const m = readHalf(blocks, at + 2);
      for (let j = 0; j < 16; j++) {
        const pair = blocks[at + 4 + j] as number;
        values[first + j] = d * (pair & 15) + m;
        values[first + 16 + j] = d * (pair >>> 4) + m;
      }
    }
  },

  encode(values, blocks, importance) {
    if (importance !== undefined) {
      searchShiftedBlocks({ values, blocks, importance, highest: 15, blockBytes: BYTES, pack });
      return;
    }
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const m = smallest(values, first, SIZE);
      const d = float32(float32(largest(values, first, SIZE) - m) / 15);
      const inverse = d === 0 ? 0 : float32(1 / d);
      writeHalf(blocks, at, d);
      writeHalf(blocks, at + 2, m);
      for (let j = 0; j < 16; j++) {
        const low = shiftedCode(values[first + j] as number, m, inverse, 15);
        const high = shiftedCode(values[first + 16 + j] as number, m, inverse, 15);
        blocks[at + 4 + j] = low | (high << 4);
      }
    }
  },
};

/** `min(highest, (int)((x - m) / d + 0.5f))`, each step rounded to float32 (ggml, quantize_row_q4_1_ref). */
export function shiftedCode(x: number, m: number, inverse: number, highest: number): number {
  return Math.min(highest, float32(float32(float32(x - m) * inverse) + 0.5) & 255);
}

function pack(codes: Uint8Array, blocks: Uint8Array, at: number): void {
  for (let j = 0; j < 16; j++) blocks[at + 4 + j] = (codes[j] as number) | ((codes[j + 16] as number) << 4);
}
