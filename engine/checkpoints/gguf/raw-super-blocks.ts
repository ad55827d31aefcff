import { halfFloat } from '../verification/raw-floats';

/** A type of block by its description in ggml-common.h and the dequantizers of ggml-quants.c, and not by the encoders and decoders here. */
export interface RawBlockLayout {
  readonly weights: number;
  readonly bytes: number;
  /** Where the float16 numbers of a block are. */
  readonly halvesAt: readonly number[];
  /** Weights that share a scale. */
  readonly groupSize: number;
  /** The weight at `index` of a block, as its type defines it, each product rounded to float32. */
  weight(block: Buffer, index: number): number;
}

const float32 = Math.fround;
/** Bits `from .. from + count` of a byte. */
const bits = (byte: number | undefined, from: number, count: number) =>
  Math.floor((byte ?? 0) / 2 ** from) % 2 ** count;
const half = (block: Buffer, at: number) => halfFloat(block.readUInt16LE(at));

/** Scale and minimum number `part` of the 12 packed bytes at `at` (`get_scale_min_k4`). */
function sixBits(block: Buffer, at: number, part: number): readonly [scale: number, minimum: number] {
  if (part < 4) return [bits(block[at + part], 0, 6), bits(block[at + 4 + part], 0, 6)];
  const low = block[at + 4 + part];
  return [bits(low, 0, 4) + 16 * bits(block[at + part - 4], 6, 2), bits(low, 4, 4) + 16 * bits(block[at + part], 6, 2)];
}

/** Four bits of each of 256 codes in 128 bytes: 64 codes after 64, the first 32 of them in low halves. */
function nibble(block: Buffer, at: number, index: number): number {
  const within = index % 64;
  return bits(block[at + 32 * Math.floor(index / 64) + (within % 32)], within < 32 ? 0 : 4, 4);
}

/** Two bits of each of 256 codes in 64 bytes: 128 codes after 128, in four planes of 32. */
function crumb(block: Buffer, at: number, index: number): number {
  const within = index % 128;
  return bits(block[at + 32 * Math.floor(index / 128) + (within % 32)], 2 * Math.floor(within / 32), 2);
}

/** `kvalues_iq4nl` */
const UNEVEN = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113] as const;
const uneven = (block: Buffer, at: number, index: number) => {
  const pair = block[at + 16 * Math.floor(index / 32) + (index % 16)];
  return UNEVEN[bits(pair, index % 32 < 16 ? 0 : 4, 4)] as number;
};

function shifted(block: Buffer, index: number, fifthBitsAt: number | null, codesAt: number): number {
  const part = Math.floor(index / 32);
  const [scale, minimum] = sixBits(block, 4, part);
  const fifth = fifthBitsAt === null ? 0 : bits(block[fifthBitsAt + (index % 32)], part, 1);
  const code = nibble(block, codesAt, index) + 16 * fifth;
  return float32(float32(half(block, 0) * scale) * code) - float32(half(block, 2) * minimum);
}

const TRITS = [1, 3, 9, 27, 81] as const;

/** Super-blocks, and blocks of 32 that have no affine grid. */
export const RAW_SUPER_BLOCKS: Readonly<Record<string, RawBlockLayout>> = {
  Q2_K: {
    ...{ weights: 256, bytes: 84, halvesAt: [80, 82], groupSize: 16 },
    weight(block, index) {
      const both = block[Math.floor(index / 16)];
      const scale = float32(half(block, 80) * bits(both, 0, 4));
      return float32(scale * crumb(block, 16, index)) - float32(half(block, 82) * bits(both, 4, 4));
    },
  },
  Q3_K: {
    ...{ weights: 256, bytes: 110, halvesAt: [108], groupSize: 16 },
    weight(block, index) {
      const part = Math.floor(index / 16);
      const low = bits(block[96 + (part % 8)], part < 8 ? 0 : 4, 4);
      const scale = low + 16 * bits(block[104 + (part % 4)], 2 * Math.floor(part / 4), 2) - 32;
      const code = crumb(block, 32, index) + 4 * bits(block[index % 32], Math.floor(index / 32), 1) - 4;
      return float32(half(block, 108) * scale) * code;
    },
  },
  Q4_K: {
    ...{ weights: 256, bytes: 144, halvesAt: [0, 2], groupSize: 32 },
    weight: (block, index) => shifted(block, index, null, 16),
  },
  Q5_K: {
    ...{ weights: 256, bytes: 176, halvesAt: [0, 2], groupSize: 32 },
    weight: (block, index) => shifted(block, index, 16, 48),
  },
  Q6_K: {
    ...{ weights: 256, bytes: 210, halvesAt: [208], groupSize: 16 },
    weight(block, index) {
      const [side, within] = [Math.floor(index / 128), index % 128];
      const low = bits(block[64 * side + (within % 64)], within < 64 ? 0 : 4, 4);
      const high = bits(block[128 + 32 * side + (within % 32)], 2 * Math.floor(within / 32), 2);
      const scale = float32(half(block, 208) * block.readInt8(192 + Math.floor(index / 16)));
      return scale * (low + 16 * high - 32);
    },
  },
  IQ4_NL: {
    ...{ weights: 32, bytes: 18, halvesAt: [0], groupSize: 32 },
    weight: (block, index) => half(block, 0) * uneven(block, 2, index),
  },
  IQ4_XS: {
    ...{ weights: 256, bytes: 136, halvesAt: [0], groupSize: 32 },
    weight(block, index) {
      const part = Math.floor(index / 32);
      const low = bits(block[4 + Math.floor(part / 2)], 4 * (part % 2), 4);
      const scale = low + 16 * (Math.floor(block.readUInt16LE(2) / 4 ** part) % 4) - 32;
      return float32(half(block, 0) * scale) * uneven(block, 8, index);
    },
  },
  TQ1_0: {
    ...{ weights: 256, bytes: 54, halvesAt: [52], groupSize: 256 },
    weight(block, index) {
      // Bytes, where they begin, and the weight that the first of them begins with.
      const [width, at, first] = index < 160 ? [32, 0, 0] : index < 240 ? [16, 32, 160] : [4, 48, 240];
      const byte = block[at + ((index - first) % width)] ?? 0;
      const rest = (byte * (TRITS[Math.floor((index - first) / width)] as number)) % 256;
      return half(block, 52) * (Math.floor((rest * 3) / 256) - 1);
    },
  },
  TQ2_0: {
    ...{ weights: 256, bytes: 66, halvesAt: [64], groupSize: 256 },
    weight: (block, index) => half(block, 64) * (crumb(block, 0, index) - 1),
  },
  MXFP4: {
    ...{ weights: 32, bytes: 17, halvesAt: [], groupSize: 32 },
    weight(block, index) {
      const code = bits(block[1 + (index % 16)], index < 16 ? 0 : 4, 4);
      // E2M1: a sign, two bits of exponent, one of mantissa.
      const [exponent, mantissa] = [Math.floor((code % 8) / 2), code % 2];
      const magnitude = exponent === 0 ? mantissa / 2 : (1 + mantissa / 2) * 2 ** (exponent - 1);
      return (code < 8 || magnitude === 0 ? magnitude : -magnitude) * 2 ** ((block[0] ?? 0) - 127);
    },
  },
};
