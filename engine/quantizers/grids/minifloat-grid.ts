import { minifloatValues } from '../../numbers';
import type { FloatType } from '../../spec';
import { effectiveScale, MINIFLOAT_TYPES, scaleLayout } from '../minifloat/minifloat-types';
import type { Grid } from './grid';

/** Floats of a few bits with scales: `w[r, c] ≈ value(codes[r, c]) * scale`, of the row and column that scale is for. */
export interface MinifloatLinear {
  readonly kind: 'minifloat';
  readonly rows: number;
  readonly columns: number;
  readonly floatType: FloatType;
  /** `[rows, columns]`: bits of the floats. */
  readonly codes: Uint8Array;
  /** As `scaleLayout` says, each a number that the file can hold. */
  readonly scales: Float32Array;
  /** A float32 that they are divided by; null: none. */
  readonly globalScale: number | null;
  /** What runtimes quantize every input with, a number that the file can hold. Absent: scales of tokens, or inputs as they are. */
  readonly inputScale?: number;
}

type Form = Pick<MinifloatLinear, 'rows' | 'columns' | 'floatType' | 'globalScale' | 'inputScale'>;

/** `value * scale` in float32; the scale is divided first where there is what divides it. */
export const minifloatGrid: Grid<MinifloatLinear> = {
  kind: 'minifloat',

  open({ rows, columns, floatType, codes, scales, globalScale }) {
    const values = minifloatValues(MINIFLOAT_TYPES[floatType].element);
    const effective = scales.map((scale) => effectiveScale(scale, globalScale));
    const layout = scaleLayout(floatType, rows, columns);
    return (first, count, weights) => {
      for (let row = 0, at = 0; row < count; row++) {
        const scaleRow = Math.floor((first + row) / layout.rowsPerScale) * layout.columns;
        const code = (first + row) * columns;
        for (let column = 0; column < columns; column++, at++) {
          const scale = effective[scaleRow + Math.floor(column / layout.columnsPerScale)] as number;
          weights[at] = (values[codes[code + column] as number] as number) * scale;
        }
      }
    };
  },

  split: ({ rows, columns, floatType, codes, scales, globalScale, inputScale }) => ({
    header: { rows, columns, floatType, globalScale, ...(inputScale !== undefined && { inputScale }) } satisfies Form,
    arrays: [codes, scales],
  }),

  join(header, take) {
    const { rows, columns, floatType, globalScale, inputScale } = header as unknown as Form;
    const layout = scaleLayout(floatType, rows, columns);
    return {
      ...{ kind: 'minifloat', rows, columns, floatType, globalScale },
      codes: take(rows * columns),
      scales: new Float32Array(new Uint8Array(take(4 * layout.rows * layout.columns)).buffer),
      ...(inputScale !== undefined && { inputScale }),
    };
  },
};
