import { CODES_PER_BLOCK, packWords, unpackWords } from '../pack-words';
import { wordsOf } from './layout';

/** A code is stored as it is: signed codes have 2^(b-1) added, and so are those of Quantloom. */
const planesOf = (bits: number) => [{ width: bits, shift: 0 }];

/** Codes `[rows, columns]` packed along rows: `[rows, columns * bits / 32]`. Columns are a multiple of 32. */
export function packRows(codes: Uint8Array, [rows, columns]: readonly [number, number], bits: number): Int32Array {
  return packWords(codes, planesOf(bits), rowGeometry(rows, columns, bits));
}

/** The inverse of `packRows`. */
export function unpackRows(words: Int32Array, [rows, columns]: readonly [number, number], bits: number): Uint8Array {
  return unpackWords(words, planesOf(bits), rowGeometry(rows, columns, bits));
}

/** Codes `[rows, columns]` packed along columns: `[ceil(rows * bits / 32), columns]`. */
export function packColumns(codes: Uint8Array, [rows, columns]: readonly [number, number], bits: number): Int32Array {
  const length = Math.ceil(rows / CODES_PER_BLOCK) * CODES_PER_BLOCK;
  const padded = new Uint8Array(length * columns);
  padded.set(codes);
  return packWords(padded, planesOf(bits), columnGeometry(length, columns)).subarray(0, wordsOf(rows, bits) * columns);
}

/** The inverse of `packColumns`. */
export function unpackColumns(words: Int32Array, [rows, columns]: readonly [number, number], bits: number): Uint8Array {
  const length = Math.ceil(rows / CODES_PER_BLOCK) * CODES_PER_BLOCK;
  const padded = new Int32Array(wordsOf(length, bits) * columns);
  padded.set(words);
  return unpackWords(padded, planesOf(bits), columnGeometry(length, columns)).subarray(0, rows * columns);
}

function rowGeometry(rows: number, columns: number, bits: number) {
  return {
    lanes: rows,
    length: columns,
    codes: { lane: columns, item: 1 },
    words: { lane: wordsOf(columns, bits), item: 1 },
  };
}

function columnGeometry(length: number, columns: number) {
  return { lanes: columns, length, codes: { lane: 1, item: columns }, words: { lane: 1, item: columns } };
}
