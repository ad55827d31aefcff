/** The only layout of AWQ that is written and read: AutoAWQ's `version: gemm`. */
export const GEMM = 'gemm';

export const AWQ_BITS = 4;

/** Codes of a word: neighbouring rows of one column. */
export const CODES_PER_WORD = 8;

/** Slot i of a word (bits 4i to 4i + 3) holds the row `8 word + SLOT_ROWS[i]`. */
export const SLOT_ROWS = [0, 2, 4, 6, 1, 3, 5, 7] as const;

/** Groups of a column: the first dimension of scales and zero points. */
export function groupsOf(columns: number, groupSize: number): number {
  return groupSize === -1 ? 1 : columns / groupSize;
}
