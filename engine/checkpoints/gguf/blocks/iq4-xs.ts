import { FLOAT16_MAX } from '../../../numbers';
import type { BlockType } from './block-type';
import { readHalf, writeHalf } from './half-bytes';
import { IQ4_LEVELS, IQ4_VALUES } from './iq4-nl';
import { type ScaledSuperBlock, searchScaledSuperBlocks } from './search-scaled-super-blocks';

const SIZE = 256;
const BYTES = 136;
const LOW_AT = 4;
const CODES_AT = 8;
const codes = new Uint8Array(SIZE);

/** 8 sub-blocks of 32, `x = d·scale·value(q)`: d, 16 high bits and 4 bytes of low halves of 6-bit scales, 128 bytes of codes. */
export const iq4_xs: BlockType = {
  name: 'IQ4_XS',
  id: 23,
  blockSize: SIZE,
  blockBytes: BYTES,
  largestMagnitude: FLOAT16_MAX,
  codes: { levels: IQ4_VALUES, groupSize: 32, pack: packCodes },

  decode(blocks, values) {
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const d = readHalf(blocks, at);
      const highs = (blocks[at + 2] as number) | ((blocks[at + 3] as number) << 8);
      for (let part = 0; part < 8; part++) {
        const low = ((blocks[at + LOW_AT + (part >>> 1)] as number) >>> (4 * (part & 1))) & 15;
        const scale = d * ((low | (((highs >>> (2 * part)) & 3) << 4)) - 32);
        for (let j = 0; j < 16; j++) {
          const pair = blocks[at + CODES_AT + 16 * part + j] as number;
          values[first + 32 * part + j] = scale * (IQ4_VALUES[pair & 15] as number);
          values[first + 32 * part + 16 + j] = scale * (IQ4_VALUES[pair >>> 4] as number);
        }
      }
    }
  },

  encode(values, blocks, importance) {
    const layout = { levels: IQ4_LEVELS, subBlockSize: 32, scaleLimit: 32, blockBytes: BYTES };
    searchScaledSuperBlocks({ values, blocks, importance, ...layout, pack });
  },
};

function pack(block: ScaledSuperBlock, blocks: Uint8Array, at: number): void {
  writeHalf(blocks, at, block.d);
  blocks.fill(0, at + 2, at + CODES_AT);
  for (let part = 0; part < 8; part++) {
    const scale = (block.scales[part] as number) + 32;
    const low = at + LOW_AT + (part >>> 1);
    const high = at + 2 + (part >>> 2);
    blocks[low] = (blocks[low] as number) | ((scale & 15) << (4 * (part & 1)));
    blocks[high] = (blocks[high] as number) | ((scale >>> 4) << (2 * (part & 3)));
  }
  for (let i = 0; i < SIZE; i++) codes[i] = IQ4_LEVELS.codes[(block.assigned[i] as number) + 128] as number;
  packCodes(codes, blocks, at);
}

function packCodes(codes: Uint8Array, blocks: Uint8Array, at: number): void {
  for (let byte = 0; byte < 128; byte++) {
    const first = 2 * byte - (byte & 15);
    blocks[at + CODES_AT + byte] = (codes[first] as number) | ((codes[first + 16] as number) << 4);
  }
}
