/** The first of the four weights whose 2-bit codes are in byte j of 64; the others follow 32 weights apart, low bits first. */
export function crumbStart(j: number): number {
  return (j >>> 5) * 128 + (j & 31);
}

/** Stores the low two bits of 256 codes in 64 bytes. */
export function packCrumbs(codes: Uint8Array, blocks: Uint8Array, at: number): void {
  for (let j = 0; j < 64; j++) {
    const start = crumbStart(j);
    let byte = 0;
    for (let k = 0; k < 4; k++) byte |= ((codes[start + 32 * k] as number) & 3) << (2 * k);
    blocks[at + j] = byte;
  }
}
