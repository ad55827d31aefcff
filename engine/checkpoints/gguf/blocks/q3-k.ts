import { FLOAT16_MAX } from '../../../numbers';
import type { BlockType } from './block-type';
import { readHalf, writeHalf } from './half-bytes';
import { integersFrom, uniformLevels } from './levels';
import { type ScaledSuperBlock, searchScaledSuperBlocks } from './search-scaled-super-blocks';
import { crumbStart, packCrumbs } from './two-bit-codes';

const SIZE = 256;
const BYTES = 110;
const CODES_AT = 32;
const SCALES_AT = 96;
const LEVELS = uniformLevels(8);
const scales = new Int8Array(16);
const codes = new Uint8Array(SIZE);

/** 16 sub-blocks of 16, `x = d·scale·(q - 4)`: 32 bytes of third bits, 64 bytes of low bits, 12 bytes of 6-bit scales, d. */
export const q3_k: BlockType = {
  name: 'Q3_K',
  id: 11,
  blockSize: SIZE,
  blockBytes: BYTES,
  largestMagnitude: FLOAT16_MAX,
  codes: { levels: integersFrom(-4, 8), groupSize: 16, pack: packCodes },

  decode(blocks, values) {
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const d = readHalf(blocks, at + 108);
      for (let j = 0; j < 16; j++) {
        const low = ((blocks[at + SCALES_AT + (j & 7)] as number) >>> (j < 8 ? 0 : 4)) & 15;
        const high = ((blocks[at + SCALES_AT + 8 + (j & 3)] as number) >>> (2 * (j >>> 2))) & 3;
        scales[j] = (low | (high << 4)) - 32;
      }
      for (let j = 0; j < 64; j++) {
        const low = blocks[at + CODES_AT + j] as number;
        const high = blocks[at + (j & 31)] as number;
        const start = crumbStart(j);
        for (let k = 0; k < 4; k++) {
          const element = start + 32 * k;
          const code = ((low >>> (2 * k)) & 3) | (((high >>> (element >>> 5)) & 1) << 2);
          values[first + element] = d * (scales[element >>> 4] as number) * (code - 4);
        }
      }
    }
  },

  encode(values, blocks, importance) {
    const layout = { levels: LEVELS, subBlockSize: 16, scaleLimit: 32, blockBytes: BYTES };
    searchScaledSuperBlocks({ values, blocks, importance, ...layout, pack });
  },
};

function packCodes(codes: Uint8Array, blocks: Uint8Array, at: number): void {
  blocks.fill(0, at, at + CODES_AT);
  for (let element = 0; element < SIZE; element++) {
    const byte = at + (element & 31);
    blocks[byte] = (blocks[byte] as number) | (((codes[element] as number) >>> 2) << (element >>> 5));
  }
  packCrumbs(codes, blocks, at + CODES_AT);
}

function pack(block: ScaledSuperBlock, blocks: Uint8Array, at: number): void {
  for (let element = 0; element < SIZE; element++) codes[element] = (block.assigned[element] as number) + 4;
  packCodes(codes, blocks, at);
  blocks.fill(0, at + SCALES_AT, at + BYTES);
  for (let j = 0; j < 16; j++) {
    const scale = (block.scales[j] as number) + 32;
    const low = at + SCALES_AT + (j & 7);
    const high = at + SCALES_AT + 8 + (j & 3);
    blocks[low] = (blocks[low] as number) | ((scale & 15) << (j < 8 ? 0 : 4));
    blocks[high] = (blocks[high] as number) | ((scale >>> 4) << (2 * (j >>> 2)));
  }
  writeHalf(blocks, at + 108, block.d);
}
