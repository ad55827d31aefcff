import { type CodeGrid, nearestCode } from './code-grid';
import { findScale, type ScaleProblem } from './find-scale';
import { subtractProduct } from './subtract-product';

/** Columns whose errors are applied to the later ones together. The paper takes 128; 64 suits a CPU's first-level cache. */
const BATCH = 64;

/** GPTQ on some rows of a weight. Columns are in the order in which they are quantized. */
export interface GptqProblem {
  /** `[rows, columns]`. Destroyed: every column becomes what it was when its turn came. */
  readonly weights: Float64Array;
  readonly rows: number;
  readonly columns: number;
  readonly groupSize: number;
  /** `[columns, columns]`: Uᵀ, see inverseFactor. */
  readonly factor: Float64Array;
  /** `[columns]`: group of each column. */
  readonly groupOf: Int32Array;
  readonly grid: CodeGrid;
  /** `[rows, groups]`. Given, or written when `scaling` is set. */
  readonly scales: Float32Array;
  readonly zeros: Uint8Array;
  /**
   * null: scales are given (static groups). Else a group's scale is found when its first column is reached, from its weights as
   * the columns before have changed them (as AutoGPTQ does); groups then lie in the order of columns.
   */
  readonly scaling: Pick<ScaleProblem, 'importance' | 'search' | 'neighbours'> | null;
  /** `[rows, columns]`, written. */
  readonly codes: Uint8Array;
}

/**
 * GPTQ's column loop with lazy batch updates (Frantar et al. 2022, Algorithm 1): column after column is rounded, and its error,
 * divided by U_jj, is spread with row j of U over the columns still to come.
 */
export function gptqColumns(problem: GptqProblem): void {
  const { weights, rows, columns, factor } = problem;
  const scaleProblem: ScaleProblem | null = problem.scaling && { ...problem, ...problem.scaling };
  // With scales found on the way, a batch must not go beyond the group: the next one needs all that came before.
  const batch = scaleProblem ? Math.min(BATCH, problem.groupSize) : BATCH;
  const u = new Float64Array(batch * batch);
  const errors = new Float64Array(rows * batch);
  for (let start = 0; start < columns; start += batch) {
    const stop = Math.min(start + batch, columns);
    // U[start..stop, start..stop], so that the loop over later columns is contiguous.
    for (let i = start; i < stop; i++) {
      for (let j = i; j < stop; j++) u[(i - start) * batch + (j - start)] = factor[j * columns + i] as number;
    }
    const group = Math.floor(start / problem.groupSize);
    const opensGroup = start === group * problem.groupSize;
    for (let row = 0; row < rows; row++) {
      if (scaleProblem && opensGroup) findScale(scaleProblem, row, group);
      quantizeBatch(problem, row, start, stop, u, errors, batch);
    }
    // W[:, stop..] -= E U[start..stop, stop..]
    subtractProduct(
      { data: weights, offset: stop, stride: columns },
      { data: errors, offset: 0, stride: batch },
      { data: factor, offset: stop * columns + start, stride: columns },
      rows,
      columns - stop,
      stop - start,
    );
  }
}

function quantizeBatch(
  problem: GptqProblem,
  row: number,
  start: number,
  stop: number,
  u: Float64Array,
  errors: Float64Array,
  batch: number,
): void {
  const { weights, columns, groupOf, scales, zeros, codes } = problem;
  const { levels } = problem.grid;
  const groups = Math.ceil(columns / problem.groupSize);
  const width = stop - start;
  const offset = row * columns + start;
  for (let i = 0; i < width; i++) {
    const group = row * groups + (groupOf[start + i] as number);
    const scale = scales[group] as number;
    const zero = zeros[group] as number;
    const w = weights[offset + i] as number;
    const code = nearestCode(w / scale, zero, levels);
    codes[offset + i] = code;
    const error = (w - (code - zero) * scale) / (u[i * batch + i] as number);
    errors[row * batch + i] = error;
    for (let j = i + 1; j < width; j++) {
      weights[offset + j] = (weights[offset + j] as number) - error * (u[i * batch + j] as number);
    }
  }
}
