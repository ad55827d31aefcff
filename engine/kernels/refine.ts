import type { CodeGrid } from './code-grid';
import { refineCodes } from './refine-codes';
import { refineScales } from './refine-scales';
import { factorizeGroups, resolveGroups } from './resolve-groups';
import { subtractProduct } from './subtract-product';

/** A quantization of some rows that is to be improved in place. Groups are contiguous. */
export interface RefinementProblem {
  /** `[rows, columns]`: the target W. */
  readonly weights: Float64Array;
  readonly rows: number;
  readonly columns: number;
  readonly groupSize: number;
  /** `[columns, columns]`, symmetric. */
  readonly hessian: Float64Array;
  readonly grid: CodeGrid;
  /** `[rows, groups]`, improved in place; float16 values stay float16 values. */
  readonly scales: Float32Array;
  /** `[rows, groups]`; changed only when groups are solved again. */
  readonly zeros: Uint8Array;
  /** `[rows, columns]`, improved in place. */
  readonly codes: Uint8Array;
  readonly rounds: number;
  /** Every round begins with solving every group again: scale, zero point and codes at once (see resolveGroups). */
  readonly resolveGroups?: boolean;
  /** `[rows]`, written: `ΔW H ΔWᵀ` of each row before and after, and `W H Wᵀ`. */
  readonly errorsBefore: Float64Array;
  readonly errors: Float64Array;
  readonly energies: Float64Array;
}

/** The problem for as many rows as memory is given to, with what is kept up to date along the way. */
export interface RefinementState extends RefinementProblem {
  readonly groups: number;
  /** T `[rows, columns]`: code - zero. */
  readonly steps: Float64Array;
  /** P `[rows, groups, columns]`: -t H for the part t of T that lies in the group, so that Q H = -Σ s P. */
  readonly projections: Float64Array;
  /** G `[rows, columns]`: (W - Q) H. */
  readonly gradient: Float64Array;
  /** `[rows]`: 1 when a round no longer helped. */
  readonly settled: Uint8Array;
}

/** Default bound on the memory of the projections. */
const PROJECTION_BYTES = 64 << 20;

/**
 * Lowers `tr((W - Q) H (W - Q)ᵀ)` by rounds of closed-form scales for fixed codes and coordinate descent on codes for fixed scales;
 * where asked for, every round begins with solving each group again.
 *
 * A row stops when a round no longer lowers its error, and then keeps what it had before that round. Besides two matrix products
 * at the start, only what changes costs anything.
 *
 * @param projectionBytes how much memory the projections may take, as far as three rows allow it; changes no bit of the result.
 */
export function refine(problem: RefinementProblem, projectionBytes = PROJECTION_BYTES): void {
  const { rows, columns, groupSize } = problem;
  const groups = Math.ceil(columns / groupSize);
  const most = Math.max(3, Math.floor(projectionBytes / (8 * groups * columns)));
  for (let first = 0; first < rows; first += most) {
    const last = Math.min(first + most, rows);
    refineRows({
      ...problem,
      rows: last - first,
      weights: problem.weights.subarray(first * columns, last * columns),
      codes: problem.codes.subarray(first * columns, last * columns),
      scales: problem.scales.subarray(first * groups, last * groups),
      zeros: problem.zeros.subarray(first * groups, last * groups),
      errorsBefore: problem.errorsBefore.subarray(first, last),
      errors: problem.errors.subarray(first, last),
      energies: problem.energies.subarray(first, last),
    });
  }
}

function refineRows(problem: RefinementProblem): void {
  const state = start(problem);
  const { rows, scales, zeros, errors, settled } = state;
  const groups = state.groups;
  rowErrors(state, state.errorsBefore);
  errors.set(state.errorsBefore);
  const after = new Float64Array(rows);
  const factors = problem.resolveGroups ? factorizeGroups(problem.hessian, problem.columns, problem.groupSize) : [];
  for (let round = 0; round < problem.rounds && settled.includes(0); round++) {
    const scalesBefore = scales.slice();
    const zerosBefore = zeros.slice();
    resolveGroups(state, factors, errors);
    refineScales(state);
    refineCodes(state);
    rowErrors(state, after);
    for (let row = 0; row < rows; row++) {
      if (settled[row]) continue;
      if ((after[row] as number) < (errors[row] as number)) {
        errors[row] = after[row] as number;
        keepCodes(state, row);
      } else {
        settled[row] = 1;
        scales.set(scalesBefore.subarray(row * groups, (row + 1) * groups), row * groups);
        zeros.set(zerosBefore.subarray(row * groups, (row + 1) * groups), row * groups);
      }
    }
  }
}

function start(problem: RefinementProblem): RefinementState {
  const { weights, rows, columns, groupSize, hessian, scales, zeros, codes, energies } = problem;
  const groups = Math.ceil(columns / groupSize);
  const steps = new Float64Array(rows * columns);
  const projections = new Float64Array(rows * groups * columns);
  const gradient = new Float64Array(rows * columns);
  const w = { data: weights, offset: 0, stride: columns };
  // G = -W H for now
  subtractProduct({ data: gradient, offset: 0, stride: columns }, w, { ...w, data: hessian }, rows, columns, columns);
  for (let at = 0; at < steps.length; at++) {
    const group = Math.floor(at / columns) * groups + Math.floor((at % columns) / groupSize);
    steps[at] = (codes[at] as number) - (zeros[group] as number);
  }
  for (let group = 0; group < groups; group++) {
    const first = group * groupSize;
    subtractProduct(
      { data: projections, offset: group * columns, stride: groups * columns },
      { data: steps, offset: first, stride: columns },
      { data: hessian, offset: first, stride: columns },
      rows,
      columns,
      Math.min(groupSize, columns - first),
    );
  }
  for (let row = 0; row < rows; row++) {
    let energy = 0;
    for (let at = row * columns; at < (row + 1) * columns; at++) {
      energy -= (weights[at] as number) * (gradient[at] as number);
      gradient[at] = -(gradient[at] as number);
    }
    energies[row] = energy;
    for (let group = 0; group < groups; group++) {
      const scale = scales[row * groups + group] as number;
      const p = (row * groups + group) * columns;
      for (let i = 0; i < columns; i++) {
        const at = row * columns + i;
        gradient[at] = (gradient[at] as number) + scale * (projections[p + i] as number);
      }
    }
  }
  return { ...problem, groups, steps, projections, gradient, settled: new Uint8Array(rows) };
}

/** `Σ (W - Q) G` of each row. */
function rowErrors(state: RefinementState, errors: Float64Array): void {
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

function keepCodes({ columns, groupSize, groups, zeros, steps, codes }: RefinementState, row: number): void {
  for (let column = 0; column < columns; column++) {
    const zero = zeros[row * groups + Math.floor(column / groupSize)] as number;
    codes[row * columns + column] = (steps[row * columns + column] as number) + zero;
  }
}
