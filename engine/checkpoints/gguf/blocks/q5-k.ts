import { FLOAT16_MAX } from '../../../numbers';
import type { BlockType } from './block-type';
import { readHalf, writeHalf } from './half-bytes';
import { integersFrom } from './levels';
import { packLowHalves } from './q4-k';
import { type ShiftedSuperBlock, searchShiftedSuperBlocks } from './search-shifted-super-blocks';
import { packSixBitPairs, unpackSixBitPairs } from './six-bit-pairs';

const SIZE = 256;
const BYTES = 176;
const HIGH_AT = 16;
const CODES_AT = 48;
const scales = new Uint8Array(8);
const mins = new Uint8Array(8);

/** As Q4_K with a fifth bit: bit p of byte j of 32 belongs to weight j of sub-block p; they lie before the low halves. */
export const q5_k: BlockType = {
  name: 'Q5_K',
  id: 13,
  blockSize: SIZE,
  blockBytes: BYTES,
  largestMagnitude: FLOAT16_MAX,
  codes: { levels: integersFrom(0, 32), groupSize: 32, pack: packCodes },

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
          const low = ((blocks[bytesAt + j] as number) >>> bits) & 15;
          const high = ((blocks[at + HIGH_AT + j] as number) >>> part) & 1;
          values[first + 32 * part + j] = scale * (low | (high << 4)) - shift;
        }
      }
    }
  },

  encode(values, blocks, importance) {
    const layout = { highest: 31, subBlockSize: 32, scaleLimit: 63, blockBytes: BYTES };
    searchShiftedSuperBlocks({ values, blocks, importance, ...layout, pack });
  },
};

function pack(block: ShiftedSuperBlock, blocks: Uint8Array, at: number): void {
  writeHalf(blocks, at, block.d);
  writeHalf(blocks, at + 2, block.dmin);
  packSixBitPairs(block.scales, block.mins, blocks, at + 4);
  packCodes(block.codes, blocks, at);
}

function packCodes(codes: Uint8Array, blocks: Uint8Array, at: number): void {
  for (let j = 0; j < 32; j++) {
    let byte = 0;
    for (let part = 0; part < 8; part++) byte |= ((codes[32 * part + j] as number) >>> 4) << part;
    blocks[at + HIGH_AT + j] = byte;
  }
  packLowHalves(codes, blocks, at + CODES_AT);
}
