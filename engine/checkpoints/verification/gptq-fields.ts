/**
 * Random access to the fields of a packed GPTQ tensor, written from the format's description and not from the packer: every code
 * is looked up on its own.
 *
 * A lane is the sequence of codes that are packed together: a column of qweight, a row of qzeros.
 */
export interface PackedLanes {
  readonly bytes: Buffer;
  readonly bits: number;
  /** True for `gptq_p`: each block of 32 codes is split into planes of 8, 4, 2 and 1 bits. */
  readonly planar: boolean;
  /** Index of word `w` of lane `l` in the tensor. */
  readonly wordIndex: (lane: number, word: number) => number;
}

/** Code `index` of a lane. */
export function fieldAt(packed: PackedLanes, lane: number, index: number): number {
  const { bits, planar } = packed;
  if (!planar) return bitsAt(packed, lane, 0, index * bits, bits);
  // The planes of b bits are the binary digits of b, the highest first: 5 = 4 + 1, 7 = 4 + 2 + 1.
  const block = Math.floor(index / 32);
  const inBlock = index % 32;
  let code = 0;
  let bitsDone = 0;
  for (const width of [8, 4, 2, 1]) {
    if ((bits & width) === 0) continue;
    // A plane of width w fills w words: those before it are as many as the bits before it.
    const value = bitsAt(packed, lane, block * bits + bitsDone, inBlock * width, width);
    code += value * 2 ** bitsDone;
    bitsDone += width;
  }
  return code;
}

/** `count` bits from bit `position` of the stream that starts at word `firstWord` of the lane, the lowest bit first. */
function bitsAt(packed: PackedLanes, lane: number, firstWord: number, position: number, count: number): number {
  const word = firstWord + Math.floor(position / 32);
  const skipped = position % 32;
  const inFirst = Math.min(count, 32 - skipped);
  const low = Math.floor(wordAt(packed, lane, word) / 2 ** skipped) % 2 ** inFirst;
  if (inFirst === count) return low;
  return low + (wordAt(packed, lane, word + 1) % 2 ** (count - inFirst)) * 2 ** inFirst;
}

function wordAt(packed: PackedLanes, lane: number, word: number): number {
  return packed.bytes.readUInt32LE(4 * packed.wordIndex(lane, word));
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
