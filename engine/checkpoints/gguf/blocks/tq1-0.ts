import { FLOAT16_MAX } from '../../../numbers';
import type { BlockType } from './block-type';
import { readHalf, writeHalf } from './half-bytes';
import { integersFrom } from './levels';
import { ternaryCodes } from './ternary-codes';

const SIZE = 256;
const BYTES = 54;

/** Runs of bytes with their first weight: byte k of a run holds trits of the weights `first + k + bytes * n`. */
const RUNS = [
  { at: 0, bytes: 32, trits: 5, first: 0 },
  { at: 32, bytes: 16, trits: 5, first: 160 },
  { at: 48, bytes: 4, trits: 4, first: 240 },
] as const;
const SCALE_AT = 52;
const POWERS_OF_3 = [1, 3, 9, 27, 81] as const;
const codes = new Uint8Array(SIZE);

/** Ternary, five to a byte: `x = d t`, t in -1, 0, 1. A byte is `ceil(v · 256 / 243)`, v in base 3, most significant trit first. */
export const tq1_0: BlockType = {
  name: 'TQ1_0',
  id: 34,
  blockSize: SIZE,
  blockBytes: BYTES,
  largestMagnitude: FLOAT16_MAX,
  codes: { levels: integersFrom(-1, 3), groupSize: SIZE, pack },

  decode(blocks, values) {
    for (let at = 0, start = 0; start < values.length; at += BYTES, start += SIZE) {
      const d = readHalf(blocks, at + SCALE_AT);
      for (const run of RUNS) {
        for (let k = 0; k < run.bytes; k++) {
          const byte = blocks[at + run.at + k] as number;
          for (let n = 0; n < run.trits; n++) {
            const shifted = (byte * (POWERS_OF_3[n] as number)) & 255;
            values[start + run.first + k + run.bytes * n] = d * (((shifted * 3) >>> 8) - 1);
          }
        }
      }
    }
  },

  encode(values, blocks) {
    for (let at = 0, start = 0; start < values.length; at += BYTES, start += SIZE) {
      writeHalf(blocks, at + SCALE_AT, ternaryCodes(values, start, codes));
      pack(codes, blocks, at);
    }
  },
};

function pack(codes: Uint8Array, blocks: Uint8Array, at: number): void {
  for (const run of RUNS) {
    for (let k = 0; k < run.bytes; k++) {
      let value = 0;
      for (let n = 0; n < 5; n++) {
        const trit = n < run.trits ? (codes[run.first + k + run.bytes * n] as number) : 0;
        value = value * 3 + trit;
      }
      blocks[at + run.at + k] = Math.floor((value * 256 + 242) / 243);
    }
  }
}
