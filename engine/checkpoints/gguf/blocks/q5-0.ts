import { FLOAT16_MAX } from '../../../numbers';
import type { BlockType } from './block-type';
import { fifthBits, packFiveBits } from './five-bits';
import { readHalf, writeHalf } from './half-bytes';
import { integersFrom, uniformLevels } from './levels';
import { largestSigned } from './ranges';
import { searchScaledBlocks } from './search-scaled-blocks';

const SIZE = 32;
const BYTES = 22;
const LEVELS = uniformLevels(32);
const float32 = Math.fround;
const codes = new Uint8Array(SIZE);

/** `x = d (q - 16)`: float16 d, 32 fifth bits, then 16 bytes with the low four as in Q4_0. */
export const q5_0: BlockType = {
  name: 'Q5_0',
  id: 6,
  blockSize: SIZE,
  blockBytes: BYTES,
  largestMagnitude: FLOAT16_MAX,
  codes: { levels: integersFrom(-16, 32), groupSize: SIZE, pack },

  decode(blocks, values) {
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const d = readHalf(blocks, at);
      const high = fifthBits(blocks, at + 2);
      for (let j = 0; j < 16; j++) {
        const pair = blocks[at + 6 + j] as number;
        values[first + j] = d * (((pair & 15) | (((high >>> j) & 1) << 4)) - 16);
        values[first + 16 + j] = d * (((pair >>> 4) | (((high >>> (j + 16)) & 1) << 4)) - 16);
      }
    }
  },

  encode(values, blocks, importance) {
    if (importance !== undefined) {
      searchScaledBlocks({ values, blocks, importance, levels: LEVELS, blockBytes: BYTES, pack });
      return;
    }
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const d = float32(largestSigned(values, first, SIZE) / -16);
      const inverse = d === 0 ? 0 : float32(1 / d);
      writeHalf(blocks, at, d);
      for (let j = 0; j < SIZE; j++) {
        const scaled = float32((values[first + j] as number) * inverse);
        codes[j] = Math.min(31, float32(scaled + 16.5) & 255);
      }
      pack(codes, blocks, at);
    }
  },
};

function pack(found: Uint8Array, blocks: Uint8Array, at: number): void {
  packFiveBits(found, blocks, at + 2);
}
