import { FLOAT16_MAX } from '../../../numbers';
import type { BlockType } from './block-type';
import { readHalf, writeHalf } from './half-bytes';
import { integersFrom } from './levels';
import { type ShiftedSuperBlock, searchShiftedSuperBlocks } from './search-shifted-super-blocks';
import { packSixBitPairs, unpackSixBitPairs } from './six-bit-pairs';

const SIZE = 256;
const BYTES = 144;
const CODES_AT = 16;
const scales = new Uint8Array(8);
const mins = new Uint8Array(8);

/** 8 sub-blocks of 32, `x = d·scale·q - dmin·min`: d, dmin, 12 bytes of scales and mins, 128 bytes of 4-bit codes. */
export const q4_k: BlockType = {
  name: 'Q4_K',
  id: 12,
  blockSize: SIZE,
  blockBytes: BYTES,
  largestMagnitude: FLOAT16_MAX,
  codes: { levels: integersFrom(0, 16), groupSize: 32, pack: packCodes },

  decode(blocks, values) {
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const d = readHalf(blocks, at);
      const dmin = readHalf(blocks, at + 2);
      unpackSixBitPairs(blocks, at + 4, scales, mins);
      for (let part = 0; part < 8; part++) {
        const scale = d * (scales[part] as number);
        const shift = dmin * (mins[part] as number);
        const bytesAt = at + CODES_AT + 32 * (part >>> 1);
        const bits = 4 * (part & 1);
        for (let j = 0; j < 32; j++) {
          values[first + 32 * part + j] = scale * (((blocks[bytesAt + j] as number) >>> bits) & 15) - shift;
        }
      }
    }
  },

  encode(values, blocks, importance) {
    const layout = { highest: 15, subBlockSize: 32, scaleLimit: 63, blockBytes: BYTES };
    searchShiftedSuperBlocks({ values, blocks, importance, ...layout, pack });
  },
};

function packCodes(codes: Uint8Array, blocks: Uint8Array, at: number): void {
  packLowHalves(codes, blocks, at + CODES_AT);
}

function pack(block: ShiftedSuperBlock, blocks: Uint8Array, at: number): void {
  writeHalf(blocks, at, block.d);
  writeHalf(blocks, at + 2, block.dmin);
  packSixBitPairs(block.scales, block.mins, blocks, at + 4);
  packCodes(block.codes, blocks, at);
}

/** The low four bits of 256 codes in 128 bytes: of each 64 codes the first 32 in low halves, the others above them. */
export function packLowHalves(codes: Uint8Array, blocks: Uint8Array, at: number): void {
  for (let j = 0; j < 128; j++) {
    const start = 64 * (j >>> 5) + (j & 31);
    blocks[at + j] = ((codes[start] as number) & 15) | (((codes[start + 32] as number) & 15) << 4);
  }
}
