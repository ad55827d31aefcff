import { FLOAT16_MAX } from '../../../numbers';
import type { BlockType } from './block-type';
import { readHalf } from './half-bytes';
import { levelsOf } from './levels';
import { packNibbles } from './q4-0';
import { searchScaledBlocks } from './search-scaled-blocks';

const SIZE = 32;
const BYTES = 18;
/** What a code stands for (ggml, `kvalues_iq4nl`). */
export const IQ4_VALUES = Int8Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
export const IQ4_LEVELS = levelsOf(IQ4_VALUES);

/** `x = d · value(q)`: laid out as Q4_0, with 16 uneven values. */
export const iq4_nl: BlockType = {
  name: 'IQ4_NL',
  id: 20,
  blockSize: SIZE,
  blockBytes: BYTES,
  largestMagnitude: FLOAT16_MAX,
  codes: { levels: IQ4_VALUES, groupSize: SIZE, pack: packNibbles },

  decode(blocks, values) {
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const d = readHalf(blocks, at);
      for (let j = 0; j < 16; j++) {
        const pair = blocks[at + 2 + j] as number;
        values[first + j] = d * (IQ4_VALUES[pair & 15] as number);
        values[first + 16 + j] = d * (IQ4_VALUES[pair >>> 4] as number);
      }
    }
  },

  encode(values, blocks, importance) {
    searchScaledBlocks({ values, blocks, importance, levels: IQ4_LEVELS, blockBytes: BYTES, pack: packNibbles });
  },
};
