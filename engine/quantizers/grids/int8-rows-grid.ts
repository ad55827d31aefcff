import type { Grid } from './grid';

/** Signed bytes with the largest magnitude of each row: `w[r, c] ≈ codes[r, c] * absmax[r] / 127`. */
export interface Int8RowsLinear {
  readonly kind: 'int8-rows';
  readonly rows: number;
  readonly columns: number;
  /** `[rows, columns]`, each in `-127 .. 127`. */
  readonly codes: Int8Array;
  /** `[rows]` */
  readonly absmax: Float32Array;
}

/** What bitsandbytes multiplies with in place of dividing by 127, in float32. */
const RECIPROCAL = Math.fround(7.874015718698502e-3);

/** `code * absmax * (1 / 127)`, each product in float32. */
export const int8RowsGrid: Grid<Int8RowsLinear> = {
  kind: 'int8-rows',

  open({ columns, codes, absmax }) {
    return (first, count, weights) => {
      for (let row = 0; row < count; row++) {
        const scale = absmax[first + row] as number;
        for (let at = row * columns; at < (row + 1) * columns; at++) {
          weights[at] = Math.fround((codes[first * columns + at] as number) * scale) * RECIPROCAL;
        }
      }
    };
  },

  split: ({ rows, columns, codes, absmax }) => ({ header: { rows, columns }, arrays: [codes, absmax] }),

  join(header, take) {
    const { rows, columns } = header as unknown as Pick<Int8RowsLinear, 'rows' | 'columns'>;
    const bytes = take(rows * columns);
    return {
      ...{ kind: 'int8-rows', rows, columns },
      codes: new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length),
      absmax: new Float32Array(new Uint8Array(take(4 * rows)).buffer),
    };
  },
};
