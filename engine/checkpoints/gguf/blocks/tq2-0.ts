import { FLOAT16_MAX } from '../../../numbers';
import type { BlockType } from './block-type';
import { readHalf, writeHalf } from './half-bytes';
import { integersFrom } from './levels';
import { ternaryCodes } from './ternary-codes';
import { crumbStart, packCrumbs } from './two-bit-codes';

const SIZE = 256;
const BYTES = 66;
const SCALE_AT = 64;
const codes = new Uint8Array(SIZE);

/** Ternary in two bits: `x = d (q - 1)`. Byte 32h + m holds weights 128h + m, + 32, + 64, + 96, low bits first; then float16 d. */
export const tq2_0: BlockType = {
  name: 'TQ2_0',
  id: 35,
  blockSize: SIZE,
  blockBytes: BYTES,
  largestMagnitude: FLOAT16_MAX,
  codes: { levels: integersFrom(-1, 3), groupSize: SIZE, pack: packCrumbs },

  decode(blocks, values) {
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const d = readHalf(blocks, at + SCALE_AT);
      for (let j = 0; j < 64; j++) {
        const byte = blocks[at + j] as number;
        const start = first + crumbStart(j);
        for (let k = 0; k < 4; k++) values[start + 32 * k] = d * (((byte >>> (2 * k)) & 3) - 1);
      }
    }
  },

  encode(values, blocks) {
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      writeHalf(blocks, at + SCALE_AT, ternaryCodes(values, first, codes));
      packCrumbs(codes, blocks, at);
    }
  },
};
