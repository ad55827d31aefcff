import { FLOAT16_MAX } from '../../../numbers';
import type { BlockType } from './block-type';
import { readHalf, writeHalf } from './half-bytes';
import { integersFrom } from './levels';
import { type ShiftedSuperBlock, searchShiftedSuperBlocks } from './search-shifted-super-blocks';
import { crumbStart, packCrumbs } from './two-bit-codes';

const SIZE = 256;
const BYTES = 84;
const CODES_AT = 16;

/** 16 sub-blocks of 16, `x = d·scale·q - dmin·min`: 16 bytes with scale and min (high half), 64 bytes of 2-bit codes, d, dmin. */
export const q2_k: BlockType = {
  name: 'Q2_K',
  id: 10,
  blockSize: SIZE,
  blockBytes: BYTES,
  largestMagnitude: FLOAT16_MAX,
  codes: { levels: integersFrom(0, 4), groupSize: 16, pack: packCodes },

  decode(blocks, values) {
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const d = readHalf(blocks, at + 80);
      const dmin = readHalf(blocks, at + 82);
      for (let j = 0; j < 64; j++) {
        const byte = blocks[at + CODES_AT + j] as number;
        const start = crumbStart(j);
        for (let k = 0; k < 4; k++) {
          const element = start + 32 * k;
          const both = blocks[at + (element >>> 4)] as number;
          values[first + element] = d * (both & 15) * ((byte >>> (2 * k)) & 3) - dmin * (both >>> 4);
        }
      }
    }
  },

  encode(values, blocks, importance) {
    const layout = { highest: 3, subBlockSize: 16, scaleLimit: 15, blockBytes: BYTES };
    searchShiftedSuperBlocks({ values, blocks, importance, ...layout, pack });
  },
};

function packCodes(codes: Uint8Array, blocks: Uint8Array, at: number): void {
  packCrumbs(codes, blocks, at + CODES_AT);
}

function pack(block: ShiftedSuperBlock, blocks: Uint8Array, at: number): void {
  for (let j = 0; j < 16; j++) blocks[at + j] = (block.scales[j] as number) | ((block.mins[j] as number) << 4);
  packCodes(block.codes, blocks, at);
  writeHalf(blocks, at + 80, block.d);
  writeHalf(blocks, at + 82, block.dmin);
}
