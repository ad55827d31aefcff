/**
 * Random access to the fields of a packed GPTQ tensor, written from the format's description and not from the packer: every code
 * is looked up on its own.
 *
 * A lane is the sequence of codes that are packed together: a column of qweight, a row of qzeros.
 */
export interface PackedLanes {
  readonly words: Uint32Array;
  readonly bits: number;
  /** True for `gptq_p`: each block of 32 codes is split into planes of 8, 4, 2 and 1 bits. */
  readonly planar: boolean;
  /** Word `w` of lane `l` is `words[l * laneStride + w * wordStride]`. */
  readonly laneStride: number;
  readonly wordStride: number;
}

/** Code `index` of a lane. */
export function fieldAt(packed: PackedLanes, lane: number, index: number): number {
  const { bits } = packed;
  if (!packed.planar) return bitsAt(packed, lane, 0, index * bits, bits);
  // The planes of b bits are the binary digits of b, the highest first: 5 = 4 + 1, 7 = 4 + 2 + 1.
  const firstWord = (index >>> 5) * bits;
  const inBlock = index & 31;
  let code = 0;
  let bitsDone = 0;
  for (let width = 8; width >= 1; width >>>= 1) {
    if ((bits & width) === 0) continue;
    // A plane of width w fills w words: those before it are as many as the bits before it.
    code |= bitsAt(packed, lane, firstWord + bitsDone, inBlock * width, width) << bitsDone;
    bitsDone += width;
  }
  return code;
}

/** `count` bits from bit `position` of the stream that starts at word `firstWord` of the lane, the lowest bit first. */
function bitsAt(packed: PackedLanes, lane: number, firstWord: number, position: number, count: number): number {
  const { words, wordStride } = packed;
  const at = lane * packed.laneStride + (firstWord + (position >>> 5)) * wordStride;
  const skipped = position & 31;
  const inFirst = 32 - skipped;
  let value = (words[at] as number) >>> skipped;
  if (inFirst < count) value |= (words[at + wordStride] as number) << inFirst;
  return value & ((1 << count) - 1);
}

/** An IEEE 754 binary16 number from its bits. */
export function halfFloat(bits: number): number {
  const sign = bits >= 0x8000 ? -1 : 1;
  const exponent = Math.floor(bits / 1024) % 32;
  const fraction = bits % 1024;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}
