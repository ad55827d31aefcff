import { FLOAT16_MAX } from '../../../numbers';
import type { BlockType } from './block-type';
import { readHalf, writeHalf } from './half-bytes';
import { integersFrom, uniformLevels } from './levels';
import { largestSigned } from './ranges';
import { searchScaledBlocks } from './search-scaled-blocks';

const SIZE = 32;
const BYTES = 18;
const LEVELS = uniformLevels(16);
const float32 = Math.fround;

/** `x = d (q - 8)`: float16 d, then 16 bytes; weight j < 16 in the low half of byte j, weight j + 16 in the high half. */
export const q4_0: BlockType = {
  name: 'Q4_0',
  id: 2,
  blockSize: SIZE,
  blockBytes: BYTES,
  largestMagnitude: FLOAT16_MAX,
  codes: { levels: integersFrom(-8, 16), groupSize: SIZE, pack: packNibbles },

  decode(blocks, values) {
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const d = readHalf(blocks, at);
      for (let j = 0; j < 16; j++) {
        const pair = blocks[at + 2 + j] as number;
        values[first + j] = d * ((pair & 15) - 8);
        values[first + 16 + j] = d * ((pair >>> 4) - 8);
      }
    }
  },

  encode(values, blocks, importance) {
    if (importance !== undefined) {
      searchScaledBlocks({ values, blocks, importance, levels: LEVELS, blockBytes: BYTES, pack: packNibbles });
      return;
    }
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const d = float32(largestSigned(values, first, SIZE) / -8);
      const inverse = d === 0 ? 0 : float32(1 / d);
      writeHalf(blocks, at, d);
      for (let j = 0; j < 16; j++) {
        const low = nibble(values[first + j] as number, inverse);
        const high = nibble(values[first + 16 + j] as number, inverse);
        blocks[at + 2 + j] = low | (high << 4);
      }
    }
  },
};

/** `min(15, (int)(x / d + 8.5f))`, each step rounded to float32 (ggml, quantize_row_q4_0_ref). */
function nibble(x: number, inverse: number): number {
  return Math.min(15, float32(float32(x * inverse) + 8.5) & 255);
}

/** 32 codes of 4 bits behind a float16, the first 16 in low halves. */
export function packNibbles(codes: Uint8Array, blocks: Uint8Array, at: number): void {
  for (let j = 0; j < 16; j++) blocks[at + 2 + j] = (codes[j] as number) | ((codes[j + 16] as number) << 4);
}
