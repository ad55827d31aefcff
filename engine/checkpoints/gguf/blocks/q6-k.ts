import { FLOAT16_MAX } from '../../../numbers';
import type { BlockType } from './block-type';
import { readHalf, writeHalf } from './half-bytes';
import { integersFrom, uniformLevels } from './levels';
import { type ScaledSuperBlock, searchScaledSuperBlocks } from './search-scaled-super-blocks';

const SIZE = 256;
const BYTES = 210;
const HIGH_AT = 128;
const SCALES_AT = 192;
const D_AT = 208;
const LEVELS = uniformLevels(64);
const codes = new Uint8Array(SIZE);

/** 16 sub-blocks of 16, `x = d·scale·(q - 32)`: 128 bytes of low halves, 64 bytes of high bits, 16 signed scales, d. */
export const q6_k: BlockType = {
  name: 'Q6_K',
  id: 14,
  blockSize: SIZE,
  blockBytes: BYTES,
  largestMagnitude: FLOAT16_MAX,
  codes: { levels: integersFrom(-32, 64), groupSize: 16, pack: packCodes },

  decode(blocks, values) {
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const d = readHalf(blocks, at + D_AT);
      for (let element = 0; element < SIZE; element++) {
        const low = ((blocks[at + lowByte(element)] as number) >>> lowShift(element)) & 15;
        const high = ((blocks[at + HIGH_AT + highByte(element)] as number) >>> highShift(element)) & 3;
        const scale = ((blocks[at + SCALES_AT + (element >>> 4)] as number) << 24) >> 24;
        values[first + element] = d * scale * ((low | (high << 4)) - 32);
      }
    }
  },

  encode(values, blocks, importance) {
    const layout = { levels: LEVELS, subBlockSize: 16, scaleLimit: 128, blockBytes: BYTES };
    searchScaledSuperBlocks({ values, blocks, importance, ...layout, pack });
  },
};

function packCodes(codes: Uint8Array, blocks: Uint8Array, at: number): void {
  blocks.fill(0, at, at + SCALES_AT);
  for (let element = 0; element < SIZE; element++) {
    const code = codes[element] as number;
    const low = at + lowByte(element);
    const high = at + HIGH_AT + highByte(element);
    blocks[low] = (blocks[low] as number) | ((code & 15) << lowShift(element));
    blocks[high] = (blocks[high] as number) | ((code >>> 4) << highShift(element));
  }
}

function pack(block: ScaledSuperBlock, blocks: Uint8Array, at: number): void {
  for (let element = 0; element < SIZE; element++) codes[element] = (block.assigned[element] as number) + 32;
  packCodes(codes, blocks, at);
  for (let part = 0; part < 16; part++) blocks[at + SCALES_AT + part] = block.scales[part] as number;
  writeHalf(blocks, at + D_AT, block.d);
}

/** Halves of 128 weights have 64 bytes of low halves: the first 64 weights in the low ones, the others above them. */
function lowByte(element: number): number {
  return 64 * (element >>> 7) + (element & 63);
}

function lowShift(element: number): number {
  return (element & 64) >>> 4;
}

/** ... and 32 bytes of high bits, four weights 32 apart in each. */
function highByte(element: number): number {
  return 32 * (element >>> 7) + (element & 31);
}

function highShift(element: number): number {
  return ((element & 127) >>> 5) * 2;
}
