/** What this format is called in a quantization_config: codes of 1 to 8 bits, packed into int32. */
export const PACK_QUANTIZED = 'pack-quantized';

/** Groups of a row: the second dimension of scales and zero points. */
export function groupsOf(columns: number, groupSize: number): number {
  return groupSize === -1 ? 1 : Math.ceil(columns / groupSize);
}

/** Words that hold so many codes: fields straddle words, and only the last word has room left. */
export function wordsOf(codes: number, bits: number): number {
  return Math.ceil((codes * bits) / 32);
}
