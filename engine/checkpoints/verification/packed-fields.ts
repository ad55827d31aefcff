/**
 * The fields of a packed tensor, written from the format's description and not from the packer: where a code lies is computed for
 * every index of a lane on its own.
 *
 * A lane is the sequence of codes that are packed together: a column of GPTQ's qweight, a row of its qzeros.
 */
export interface PackedLanes {
  readonly words: Uint32Array;
  readonly bits: number;
  /** True for GPTQ's `gptq_p`: each block of 32 codes is split into planes of 8, 4, 2 and 1 bits. */
  readonly planar: boolean;
  /** Word `w` of lane `l` is `words[l * laneStride + w * wordStride]`. */
  readonly laneStride: number;
  readonly wordStride: number;
}

/** Code `index` of the lanes from `firstLane` on, as many as `codes` has room for. */
export function fieldsAt(packed: PackedLanes, firstLane: number, index: number, codes: Uint8Array): void {
  const { bits } = packed;
  codes.fill(0);
  if (!packed.planar) {
    addBits(packed, { firstLane, firstWord: 0, position: index * bits, count: bits, shift: 0 }, codes);
    return;
  }
  // The planes of b bits are the binary digits of b, the highest first: 5 = 4 + 1, 7 = 4 + 2 + 1.
  const blockWord = (index >>> 5) * bits;
  const inBlock = index & 31;
  let shift = 0;
  for (let count = 8; count >= 1; count >>>= 1) {
    if ((bits & count) === 0) continue;
    // A plane of width w fills w words: those before it are as many as the bits before it.
    addBits(packed, { firstLane, firstWord: blockWord + shift, position: inBlock * count, count, shift }, codes);
    shift += count;
  }
}

/** `count` bits from bit `position` of the stream that starts at word `firstWord` of each lane, the lowest bit first. */
interface BitRange {
  readonly firstLane: number;
  readonly firstWord: number;
  readonly position: number;
  readonly count: number;
  /** Where they belong in a code. */
  readonly shift: number;
}

function addBits(packed: PackedLanes, { firstLane, firstWord, position, count, shift }: BitRange, codes: Uint8Array) {
  const { words, wordStride, laneStride } = packed;
  const mask = (1 << count) - 1;
  const skipped = position & 31;
  const inFirst = 32 - skipped;
  const straddles = inFirst < count;
  let at = firstLane * laneStride + (firstWord + (position >>> 5)) * wordStride;
  for (let lane = 0; lane < codes.length; lane++, at += laneStride) {
    let value = (words[at] as number) >>> skipped;
    if (straddles) value |= (words[at + wordStride] as number) << inFirst;
    codes[lane] = (codes[lane] as number) | ((value & mask) << shift);
  }
}

/** The little-endian words of a tensor, in aligned memory of their own. */
export function wordsOf(bytes: Buffer): Uint32Array {
  return new Uint32Array(new Uint8Array(bytes).buffer);
}
