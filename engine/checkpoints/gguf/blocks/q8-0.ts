import { FLOAT16_MAX, roundHalfAway } from '../../../numbers';
import type { BlockType } from './block-type';
import { readHalf, writeHalf } from './half-bytes';
import { integersFrom } from './levels';
import { largestSigned } from './ranges';

const SIZE = 32;
const BYTES = 34;
const float32 = Math.fround;

/** `x = d q`: float16 d, then 32 signed bytes. */
export const q8_0: BlockType = {
  name: 'Q8_0',
  id: 8,
  blockSize: SIZE,
  blockBytes: BYTES,
  largestMagnitude: FLOAT16_MAX,
  // Not -128, which ggml's own encoder never writes.
  codes: {
    levels: integersFrom(-127, 255),
    groupSize: SIZE,
    pack(codes, blocks, at) {
      for (let j = 0; j < SIZE; j++) blocks[at + 2 + j] = (codes[j] as number) - 127;
    },
  },

  decode(blocks, values) {
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const d = readHalf(blocks, at);
      for (let j = 0; j < SIZE; j++) values[first + j] = (((blocks[at + 2 + j] as number) << 24) >> 24) * d;
    }
  },

  /** 127 steps to each side leave a search nothing to gain: importance is not used, in ggml neither. */
  encode(values, blocks) {
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const d = float32(Math.abs(largestSigned(values, first, SIZE)) / 127);
      const inverse = d === 0 ? 0 : float32(1 / d);
      writeHalf(blocks, at, d);
      for (let j = 0; j < SIZE; j++) {
        blocks[at + 2 + j] = roundHalfAway(float32((values[first + j] as number) * inverse));
      }
    }
  },
};
