/** The 32 fifth bits at `at`: bit j belongs to weight j. */
export function fifthBits(blocks: Uint8Array, at: number): number {
  return (
    (blocks[at] as number) |
    ((blocks[at + 1] as number) << 8) |
    ((blocks[at + 2] as number) << 16) |
    ((blocks[at + 3] as number) << 24)
  );
}

/** Stores 32 codes of 5 bits: 4 bytes of fifth bits, then 16 bytes of low halves as in Q4_0. */
export function packFiveBits(codes: Uint8Array, blocks: Uint8Array, at: number): void {
  let high = 0;
  for (let j = 0; j < 16; j++) {
    const first = codes[j] as number;
    const second = codes[j + 16] as number;
    blocks[at + 4 + j] = (first & 15) | ((second & 15) << 4);
    high |= ((first >>> 4) << j) | ((second >>> 4) << (j + 16));
  }
  for (let byte = 0; byte < 4; byte++) blocks[at + byte] = high >>> (8 * byte);
}
