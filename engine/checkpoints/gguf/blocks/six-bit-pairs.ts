/**
 * Eight pairs of 6-bit integers in 12 bytes (Q4_K, Q5_K): the first four pairs in the low six bits of bytes 0 to 7, the low halves
 * of the others in bytes 8 to 11, their high bits on top of the first eight.
 */
export function unpackSixBitPairs(blocks: Uint8Array, at: number, scales: Uint8Array, mins: Uint8Array): void {
  for (let j = 0; j < 4; j++) {
    const scale = blocks[at + j] as number;
    const min = blocks[at + 4 + j] as number;
    const low = blocks[at + 8 + j] as number;
    scales[j] = scale & 63;
    mins[j] = min & 63;
    scales[j + 4] = (low & 15) | ((scale >>> 6) << 4);
    mins[j + 4] = (low >>> 4) | ((min >>> 6) << 4);
  }
}

/** See {@link unpackSixBitPairs}. */
export function packSixBitPairs(scales: Uint8Array, mins: Uint8Array, blocks: Uint8Array, at: number): void {
  for (let j = 0; j < 4; j++) {
    const scale = scales[j + 4] as number;
    const min = mins[j + 4] as number;
    blocks[at + j] = (scales[j] as number) | ((scale >>> 4) << 6);
    blocks[at + 4 + j] = (mins[j] as number) | ((min >>> 4) << 6);
    blocks[at + 8 + j] = (scale & 15) | ((min & 15) << 4);
  }
}
