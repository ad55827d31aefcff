import { FLOAT16_MAX } from '../../../numbers';
import type { BlockType } from './block-type';
import { fifthBits, packFiveBits } from './five-bits';
import { readHalf, writeHalf } from './half-bytes';
import { integersFrom } from './levels';
import { shiftedCode } from './q4-1';
import { largest, smallest } from './ranges';
import { searchShiftedBlocks } from './search-shifted-blocks';

const SIZE = 32;
const BYTES = 24;
const float32 = Math.fround;
const codes = new Uint8Array(SIZE);

/** `x = d q + m`: float16 d and m, then codes of five bits as in Q5_0. */
export const q5_1: BlockType = {
  name: 'Q5_1',
  id: 7,
  blockSize: SIZE,
  blockBytes: BYTES,
  largestMagnitude: FLOAT16_MAX,
  codes: { levels: integersFrom(0, 32), groupSize: SIZE, pack },

  decode(blocks, values) {
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const d = readHalf(blocks, at);
      const m = readHalf(blocks, at + 2);
      const high = fifthBits(blocks, at + 4);
      for (let j = 0; j < 16; j++) {
        const pair = blocks[at + 8 + j] as number;
        values[first + j] = d * ((pair & 15) | (((high >>> j) & 1) << 4)) + m;
        values[first + 16 + j] = d * ((pair >>> 4) | (((high >>> (j + 16)) & 1) << 4)) + m;
      }
    }
  },

  encode(values, blocks, importance) {
    if (importance !== undefined) {
      searchShiftedBlocks({ values, blocks, importance, highest: 31, blockBytes: BYTES, pack });
      return;
    }
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const m = smallest(values, first, SIZE);
      const d = float32(float32(largest(values, first, SIZE) - m) / 31);
      const inverse = d === 0 ? 0 : float32(1 / d);
      writeHalf(blocks, at, d);
      writeHalf(blocks, at + 2, m);
      for (let j = 0; j < SIZE; j++) codes[j] = shiftedCode(values[first + j] as number, m, inverse, 31);
      pack(codes, blocks, at);
    }
  },
};

function pack(found: Uint8Array, blocks: Uint8Array, at: number): void {
  packFiveBits(found, blocks, at + 4);
}
