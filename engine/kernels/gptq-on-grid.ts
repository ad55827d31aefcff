import { nearestOnGrid, type RealGrid, valueOnGrid } from './real-grid';
import { subtractProduct } from './subtract-product';

/** Columns whose errors are applied to the later ones together. */
const BATCH = 64;

/** GPTQ on some rows of a weight, for a grid that is given. */
export interface GridColumnsProblem {
  /** `[rows, columns]`. */
  readonly weights: Float64Array;
  readonly rows: number;
  readonly columns: number;
  readonly grid: RealGrid;
  /** `[columns]`: the column at each place in the order of solving. */
  readonly solveOrder: Int32Array;
  /** `[columns, columns]`, in the order of solving: Uᵀ, see inverseFactor. */
  readonly factor: Float64Array;
  /** `[rows, columns]`, written. */
  readonly codes: Uint8Array;
}

/** GPTQ's column loop (Frantar et al. 2022, Algorithm 1) onto levels of real numbers; see gptqColumns. */
export function gptqOnGrid({ weights, rows, columns, grid, solveOrder, factor, codes }: GridColumnsProblem): void {
  const groups = Math.ceil(columns / grid.groupSize);
  const ordered = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < columns; i++) {
      ordered[row * columns + i] = weights[row * columns + (solveOrder[i] as number)] as number;
    }
  }
  const u = new Float64Array(BATCH * BATCH);
  const errors = new Float64Array(rows * BATCH);
  for (let start = 0; start < columns; start += BATCH) {
    const stop = Math.min(start + BATCH, columns);
    // U[start..stop, start..stop], so that the loop over later columns is contiguous.
    for (let i = start; i < stop; i++) {
      for (let j = i; j < stop; j++) u[(i - start) * BATCH + (j - start)] = factor[j * columns + i] as number;
    }
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < stop - start; i++) {
        const column = solveOrder[start + i] as number;
        const group = row * groups + Math.floor(column / grid.groupSize);
        const at = row * columns + start;
        const w = ordered[at + i] as number;
        const code = nearestOnGrid(grid, group, w);
        codes[row * columns + column] = code;
        const error = (w - valueOnGrid(grid, group, code)) / (u[i * BATCH + i] as number);
        errors[row * BATCH + i] = error;
        for (let j = i + 1; j < stop - start; j++) {
          ordered[at + j] = (ordered[at + j] as number) - error * (u[i * BATCH + j] as number);
        }
      }
    }
    // W[:, stop..] -= E U[start..stop, stop..]
    subtractProduct(
      { data: ordered, offset: stop, stride: columns },
      { data: errors, offset: 0, stride: BATCH },
      { data: factor, offset: stop * columns + start, stride: columns },
      rows,
      columns - stop,
      stop - start,
    );
  }
}
