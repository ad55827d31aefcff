import type { BlockType } from './block-type';
import { largestSigned } from './ranges';

const SIZE = 32;
const BYTES = 17;
/** E2M1 values, doubled (OCP Microscaling Formats 1.0, 5.3.3). */
const DOUBLED = Int8Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
/** Codes by rising value; 8 is -0. */
const RISING = [15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7] as const;
/** Between neighbouring magnitudes; what lies on a border takes the smaller one. */
const BORDERS = [0.5, 1.5, 2.5, 3.5, 5, 7, 10] as const;

/** `x = 2^(e - 128) · v`: one byte e, then 32 codes of 4 bits as in Q4_0, v the doubled E2M1 value. */
export const mxfp4: BlockType = {
  name: 'MXFP4',
  id: 39,
  blockSize: SIZE,
  blockBytes: BYTES,
  largestMagnitude: 2 ** 127,
  codes: {
    levels: RISING.map((code) => DOUBLED[code] as number),
    groupSize: SIZE,
    pack(codes, blocks, at) {
      const code = (j: number) => RISING[codes[j] as number] as number;
      for (let j = 0; j < 16; j++) blocks[at + 1 + j] = code(j) | (code(j + 16) << 4);
    },
  },

  decode(blocks, values) {
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const half = 2 ** ((blocks[at] as number) - 128);
      for (let j = 0; j < 16; j++) {
        const pair = blocks[at + 1 + j] as number;
        values[first + j] = half * (DOUBLED[pair & 15] as number);
        values[first + 16 + j] = half * (DOUBLED[pair >>> 4] as number);
      }
    }
  },

  /** `e = floor(log2 |largest|) + 125`. ggml's wraps around where that is below 0 (magnitudes under 2^-125); here it stays 0. */
  encode(values, blocks) {
    for (let at = 0, first = 0; first < values.length; at += BYTES, first += SIZE) {
      const largest = Math.abs(largestSigned(values, first, SIZE));
      const exponent = largest === 0 ? 0 : Math.max(0, Math.floor(Math.fround(Math.log2(largest))) + 125);
      const inverse = 2 ** (128 - exponent);
      blocks[at] = exponent;
      for (let j = 0; j < 16; j++) {
        const low = nearest((values[first + j] as number) * inverse);
        const high = nearest((values[first + 16 + j] as number) * inverse);
        blocks[at + 1 + j] = low | (high << 4);
      }
    }
  },
};

function nearest(x: number): number {
  const magnitude = Math.abs(x);
  let code = 0;
  while (code < 7 && magnitude > (BORDERS[code] as number)) code++;
  return x < 0 && code > 0 ? code | 8 : code;
}
