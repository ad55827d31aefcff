import { type CodeGrid, nearestCode } from './code-grid';

/** Weights with the scales that are already chosen for them. */
export interface RoundingProblem {
  /** `[rows, columns]`. */
  readonly weights: Float64Array;
  readonly rows: number;
  readonly columns: number;
  readonly groupSize: number;
  readonly grid: CodeGrid;
  /** `[rows, groups]`. */
  readonly scales: Float32Array;
  /** `[rows, groups]`. */
  readonly zeros: Uint8Array;
  /** `[rows, columns]`, written. */
  readonly codes: Uint8Array;
}

/** `q = clamp(round(w / s) + z, 0, 2^b - 1)`, halves to even. */
export function roundToNearest(problem: RoundingProblem): void {
  const { weights, rows, columns, groupSize, scales, zeros, codes } = problem;
  const { levels } = problem.grid;
  const groups = Math.ceil(columns / groupSize);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const group = row * groups + Math.floor(column / groupSize);
      const at = row * columns + column;
      codes[at] = nearestCode((weights[at] as number) / (scales[group] as number), zeros[group] as number, levels);
    }
  }
}
