import { subtractProduct } from './subtract-product';

/** Columns taken together; half of every H is then left out but for the blocks on the diagonal. */
const BATCH = 48;

/**
 * `D H Dᵀ` of each row of D: with D = W - Q the squared output error per token, with D = W the output's energy.
 *
 * @param d `[rows, columns]`.
 * @param hessian `[columns, columns]`, symmetric.
 * @returns `[rows]`.
 */
export function outputEnergy(d: Float64Array, hessian: Float64Array, rows: number, columns: number): Float64Array {
  const energy = new Float64Array(rows);
  const before = new Float64Array(rows * BATCH);
  const within = new Float64Array(rows * BATCH);
  for (let start = 0; start < columns; start += BATCH) {
    const width = Math.min(BATCH, columns - start);
    const h = { data: hessian, offset: start * columns, stride: columns };
    before.fill(0);
    within.fill(0);
    // By symmetry the columns before count twice.
    subtractProduct(
      { data: before, offset: 0, stride: BATCH },
      { data: d, offset: 0, stride: columns },
      h,
      rows,
      width,
      start,
    );
    subtractProduct(
      { data: within, offset: 0, stride: BATCH },
      { data: d, offset: start, stride: columns },
      { ...h, offset: h.offset + start },
      rows,
      width,
      width,
    );
    for (let row = 0; row < rows; row++) {
      let sum = 0;
      for (let j = 0; j < width; j++) {
        const at = row * BATCH + j;
        sum -= (d[row * columns + start + j] as number) * (2 * (before[at] as number) + (within[at] as number));
      }
      energy[row] = (energy[row] as number) + sum;
    }
  }
  return energy;
}
