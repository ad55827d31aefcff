import { roundToFloat16 } from '../numbers/float16';
import { type CodeGrid, nearestCode, SMALLEST_SCALE } from './code-grid';
import { subtractProduct } from './subtract-product';

/** A quantization of some rows that is to be improved in place. Groups are contiguous. */
export interface RefinementProblem {
  /** `[rows, columns]`: the target W. */
  readonly weights: Float64Array;
  readonly rows: number;
  readonly columns: number;
  readonly groupSize: number;
  /** `[columns, columns]`, undamped, symmetric. */
  readonly hessian: Float64Array;
  readonly grid: CodeGrid;
  /** `[rows, groups]`, improved in place; float16 values stay float16 values. */
  readonly scales: Float32Array;
  readonly zeros: Uint8Array;
  /** `[rows, columns]`, improved in place. */
  readonly codes: Uint8Array;
  readonly rounds: number;
  /** `[rows]`, written: `ΔW H ΔWᵀ` of each row before and after. */
  readonly errorsBefore: Float64Array;
  readonly errors: Float64Array;
}

interface State extends RefinementProblem {
  readonly groups: number;
  /** T `[rows, columns]`: code - zero. */
  readonly steps: Float64Array;
  /** G `[rows, columns]`: (W - Q) H, kept up to date. */
  readonly gradient: Float64Array;
  /** Room for `[rows, columns]`. */
  readonly product: Float64Array;
}

/**
 * Lowers `tr((W - Q) H (W - Q)ᵀ)` by rounds of closed-form scales for fixed codes and coordinate descent on codes for fixed scales.
 *
 * A row stops when a round no longer lowers its error, and then keeps what it had before that round.
 */
export function refine(problem: RefinementProblem): void {
  const state = prepare(problem);
  const { rows, scales, codes, errors, errorsBefore } = problem;
  rowErrors(state, errorsBefore);
  errors.set(errorsBefore);
  const settled = new Uint8Array(rows);
  const after = new Float64Array(rows);
  for (let round = 0; round < problem.rounds && settled.includes(0); round++) {
    const scalesBefore = scales.slice();
    refineScales(state, settled);
    refineCodes(state, settled);
    rowErrors(state, after);
    for (let row = 0; row < rows; row++) {
      if (settled[row]) continue;
      if ((after[row] as number) < (errors[row] as number)) {
        errors[row] = after[row] as number;
        keepCodes(state, row);
      } else {
        settled[row] = 1;
        const first = row * state.groups;
        scales.set(scalesBefore.subarray(first, first + state.groups), first);
      }
    }
  }

  function keepCodes({ columns, groupSize, groups, zeros, steps }: State, row: number): void {
    for (let column = 0; column < columns; column++) {
      const zero = zeros[row * groups + Math.floor(column / groupSize)] as number;
      codes[row * columns + column] = (steps[row * columns + column] as number) + zero;
    }
  }
}

function prepare(problem: RefinementProblem): State {
  const { weights, rows, columns, groupSize, hessian, scales, zeros, codes } = problem;
  const groups = Math.ceil(columns / groupSize);
  const steps = new Float64Array(rows * columns);
  const product = new Float64Array(rows * columns);
  const gradient = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = row * columns + column;
      const group = row * groups + Math.floor(column / groupSize);
      const step = (codes[at] as number) - (zeros[group] as number);
      steps[at] = step;
      product[at] = step * (scales[group] as number) - (weights[at] as number); // Q - W
    }
  }
  const view = { offset: 0, stride: columns };
  subtractProduct(
    { data: gradient, ...view },
    { data: product, ...view },
    { data: hessian, ...view },
    rows,
    columns,
    columns,
  );
  return { ...problem, groups, steps, gradient, product };
}

/** `Σ (W - Q) G` of each row. */
function rowErrors(state: State, errors: Float64Array): void {
  const { weights, rows, columns, groupSize, groups, scales, steps, gradient } = state;
  for (let row = 0; row < rows; row++) {
    let error = 0;
    for (let column = 0; column < columns; column++) {
      const at = row * columns + column;
      const scale = scales[row * groups + Math.floor(column / groupSize)] as number;
      error += ((weights[at] as number) - (steps[at] as number) * scale) * (gradient[at] as number);
    }
    errors[row] = error;
  }
}

/**
 * Group after group (Gauss-Seidel) the scale that is best for the codes and all other scales. With t the group's part of T:
 * `δs = G t / (t H t)`. The error is a parabola in s, so the float16 next to its lowest point is the best float16.
 */
function refineScales(state: State, settled: Uint8Array): void {
  const { rows, columns, groupSize, groups, hessian, scales, steps, gradient, product } = state;
  for (let group = 0; group < groups; group++) {
    const first = group * groupSize;
    const last = Math.min(first + groupSize, columns);
    // P = -t H[group, :]
    product.fill(0);
    subtractProduct(
      { data: product, offset: 0, stride: columns },
      { data: steps, offset: first, stride: columns },
      { data: hessian, offset: first, stride: columns },
      rows,
      columns,
      last - first,
    );
    for (let row = 0; row < rows; row++) {
      if (settled[row]) continue;
      const offset = row * columns;
      let curvature = 0;
      let slope = 0;
      for (let at = offset + first; at < offset + last; at++) {
        curvature -= (product[at] as number) * (steps[at] as number);
        slope += (gradient[at] as number) * (steps[at] as number);
      }
      if (!(curvature > 0)) continue;
      const scale = scales[row * groups + group] as number;
      const better = roundToFloat16(Math.max(0, scale + slope / curvature));
      if (better < SMALLEST_SCALE || better === Number.POSITIVE_INFINITY || better === scale) continue;
      scales[row * groups + group] = better;
      const change = better - scale;
      for (let at = offset; at < offset + columns; at++) {
        gradient[at] = (gradient[at] as number) + change * (product[at] as number);
      }
    }
  }
}

/** Rows of H that are used on all rows of weights before the next ones are: they stay in the second-level cache. */
const BATCH = 64;

/** Column after column the code that is best for the scales and all other codes: the weight moves by `G_c / H_cc` and is rounded. */
function refineCodes(state: State, settled: Uint8Array): void {
  const { rows, columns } = state;
  for (let start = 0; start < columns; start += BATCH) {
    const stop = Math.min(start + BATCH, columns);
    for (let row = 0; row < rows; row++) {
      if (!settled[row]) refineCodesOfRow(state, row, start, stop);
    }
  }
}

function refineCodesOfRow(state: State, row: number, start: number, stop: number): void {
  const { columns, groupSize, groups, hessian, scales, zeros, steps, gradient } = state;
  const { levels } = state.grid;
  const offset = row * columns;
  for (let column = start; column < stop; column++) {
    const curvature = hessian[column * columns + column] as number;
    if (!(curvature > 0)) continue;
    const group = row * groups + Math.floor(column / groupSize);
    const scale = scales[group] as number;
    const zero = zeros[group] as number;
    const step = steps[offset + column] as number;
    const target = step * scale + (gradient[offset + column] as number) / curvature;
    const better = nearestCode(target / scale, zero, levels) - zero;
    if (better === step) continue;
    steps[offset + column] = better;
    const change = (better - step) * scale;
    const h = column * columns;
    for (let i = 0; i < columns; i++) {
      gradient[offset + i] = (gradient[offset + i] as number) - change * (hessian[h + i] as number);
    }
  }
}
