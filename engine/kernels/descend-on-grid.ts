import { LEAST_GAIN } from './least-gain';
import { nearestOnGrid, type RealGrid, valueOnGrid } from './real-grid';
import { subtractProduct } from './subtract-product';

/** Codes of some rows on a grid that is given, to be improved in place. */
export interface GridDescentProblem {
  /** `[rows, columns]`: the target W. */
  readonly weights: Float64Array;
  readonly rows: number;
  readonly columns: number;
  readonly grid: RealGrid;
  /** `[columns, columns]`, symmetric. */
  readonly hessian: Float64Array;
  readonly rounds: number;
  /** `[rows, columns]`, improved in place. */
  readonly codes: Uint8Array;
}

/**
 * Coordinate descent on `(W - Q) H (W - Q)ᵀ`: column after column the code that is best for all others, the level next to the value plus
 * `G_c / H_cc`, G = (W - Q) H. A row stops when a round gains nothing.
 */
export function descendOnGrid(problem: GridDescentProblem): void {
  const { weights, rows, columns, grid, hessian, rounds, codes } = problem;
  if (rounds === 0) return;
  const groups = Math.ceil(columns / grid.groupSize);
  const difference = new Float64Array(rows * columns);
  for (let at = 0; at < difference.length; at++) {
    const group = Math.floor(at / columns) * groups + Math.floor((at % columns) / grid.groupSize);
    difference[at] = valueOnGrid(grid, group, codes[at] as number) - (weights[at] as number);
  }
  const gradient = new Float64Array(rows * columns);
  const d = { data: difference, offset: 0, stride: columns };
  subtractProduct({ ...d, data: gradient }, d, { ...d, data: hessian }, rows, columns, columns);
  for (let row = 0; row < rows; row++) {
    const offset = row * columns;
    let energy = 0;
    for (let at = offset; at < offset + columns; at++) energy -= (difference[at] as number) * (gradient[at] as number);
    for (let round = 0; round < rounds; round++) {
      let gain = 0;
      for (let column = 0; column < columns; column++) {
        const curvature = hessian[column * columns + column] as number;
        if (!(curvature > 0)) continue;
        const at = offset + column;
        const group = row * groups + Math.floor(column / grid.groupSize);
        const before = codes[at] as number;
        const value = valueOnGrid(grid, group, before);
        const slope = gradient[at] as number;
        const code = nearestOnGrid(grid, group, value + slope / curvature);
        if (code === before) continue;
        const step = valueOnGrid(grid, group, code) - value;
        const lowered = step * (2 * slope - step * curvature);
        if (!(lowered > 0)) continue;
        codes[at] = code;
        gain += lowered;
        const h = column * columns;
        for (let i = 0; i < columns; i++) {
          gradient[offset + i] = (gradient[offset + i] as number) - step * (hessian[h + i] as number);
        }
      }
      if (!(gain > LEAST_GAIN * energy)) break;
      energy -= gain;
    }
  }
}
