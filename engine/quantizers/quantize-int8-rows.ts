import { setImmediate } from 'node:timers/promises';
import { FLOAT16_MAX, roundHalfEven, roundToFloat16 } from '../numbers';
import { QuantloomError } from '../spec';
import type { Int8RowsLinear } from './grids/int8-rows-grid';

const NUMBERS_PER_TURN = 1 << 18;

/**
 * Row-wise int8 (Dettmers et al. 2022, LLM.int8; bitsandbytes' `int8_vectorwise_quant` on float16, as its Linear8bitLt calls it): every row
 * is scaled to 127 by its largest magnitude and rounded, halves to even. Which columns of the input are outliers is left to the runtime.
 *
 * @param weight `[rows, columns]`
 * @throws QuantloomError UnsupportedInput for a weight beyond float16. The signal's reason when it aborts.
 */
export async function quantizeInt8Rows({
  weight,
  rows,
  columns,
  name,
  signal,
}: {
  readonly weight: Float32Array;
  readonly rows: number;
  readonly columns: number;
  /** For messages. */
  readonly name: string;
  readonly signal?: AbortSignal;
}): Promise<Int8RowsLinear> {
  const codes = new Int8Array(rows * columns);
  const absmax = new Float32Array(rows);
  const halves = new Float32Array(columns);
  let sinceTurn = 0;
  for (let row = 0; row < rows; row++) {
    let most = 0;
    for (let column = 0; column < columns; column++) {
      const half = roundToFloat16(weight[row * columns + column] as number);
      halves[column] = half;
      most = Math.max(most, Math.abs(half));
    }
    if (most > FLOAT16_MAX) {
      const column = halves.findIndex((half) => Math.abs(half) > FLOAT16_MAX);
      throw new QuantloomError(
        'UnsupportedInput',
        `The weight of ${name} is ${weight[row * columns + column]} at row ${row}, column ${column}; LLM.int8 takes weights as float16, ` +
          `up to ${FLOAT16_MAX}. Keep this module in 16 bit (override with skip).`,
        { details: { row, column, limit: FLOAT16_MAX } },
      );
    }
    absmax[row] = most;
    // torch divides a number by a tensor so.
    const scale = most > 0 ? Math.fround(Math.fround(1 / most) * 127) : 0;
    for (let column = 0; column < columns; column++) {
      codes[row * columns + column] = roundHalfEven(Math.fround((halves[column] as number) * scale));
    }
    sinceTurn += columns;
    if (sinceTurn < NUMBERS_PER_TURN) continue;
    sinceTurn = 0;
    await setImmediate();
    signal?.throwIfAborted();
  }
  return { kind: 'int8-rows', rows, columns, codes, absmax };
}
