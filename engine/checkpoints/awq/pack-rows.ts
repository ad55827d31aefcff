import { CODES_PER_WORD, SLOT_ROWS } from './layout';

/** Items that are worked on together, so that codes and words of a tile stay in the cache. */
const TILE = 64;

/**
 * Packs a matrix along its rows, eight to a word in AWQ's order.
 *
 * @param codes `[rows, items]` of 4 bits; rows a multiple of 8
 * @returns `[items, rows / 8]`
 */
export function packRows(codes: Uint8Array, [rows, items]: readonly [number, number]): Int32Array {
  const words = new Int32Array((rows / CODES_PER_WORD) * items);
  eachCode([rows, items], (at, word, shift) => {
    words[word] = (words[word] as number) | ((codes[at] as number) << shift);
  });
  return words;
}

/** The inverse of `packRows`. @returns `[rows, items]` */
export function unpackRows(words: Int32Array, [rows, items]: readonly [number, number]): Uint8Array {
  const codes = new Uint8Array(rows * items);
  eachCode([rows, items], (at, word, shift) => {
    codes[at] = ((words[word] as number) >>> shift) & 15;
  });
  return codes;
}

/** Where every code lies: its index in `[rows, items]`, the index of its word, and its lowest bit there. */
function eachCode(
  [rows, items]: readonly [number, number],
  visit: (at: number, word: number, shift: number) => void,
): void {
  const perItem = rows / CODES_PER_WORD;
  for (let first = 0; first < items; first += TILE) {
    const end = Math.min(items, first + TILE);
    for (let word = 0; word < perItem; word++) {
      SLOT_ROWS.forEach((row, slot) => {
        const start = (word * CODES_PER_WORD + row) * items;
        for (let item = first; item < end; item++) visit(start + item, item * perItem + word, 4 * slot);
      });
    }
  }
}
