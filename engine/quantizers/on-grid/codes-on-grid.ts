import type { GridKernels } from '../../kernels';
import { type GridHessian, type GridRows, type GridRowsTask, liveDifference } from './grid-rows';

/** A grid that is given: a code of a group stands for `scale · valueOf(code)`. */
export interface GivenGrid {
  /** Columns that share a scale. */
  readonly groupSize: number;
  /** `[rows, groups]`. */
  readonly scales: Float32Array;
  /** What codes stand for in scales, rising. */
  readonly levels: Float64Array;
  /** The code of a level, by its place among them. */
  codeAt(place: number): number;
  valueOf(code: number): number;
  /** The code of a weight that is so many scales large. */
  nearest(scales: number): number;
}

export interface CodesOnGrid extends GridRows {
  /** `[rows, columns]`. */
  readonly codes: Uint8Array;
}

/**
 * Rounds some rows to a grid, each weight for itself. With a factorized Hessian the codes are then GPTQ's on that grid, improved by coordinate
 * descent; a row on which that is no better keeps what rounding gives.
 */
export function codesOnGrid(kernels: GridKernels, task: GridRowsTask, grid: GivenGrid): CodesOnGrid {
  const { weight, rows, columns, hessian } = task;
  const scaleAt = scalesAt(grid, columns);
  const rounded = Uint8Array.from(weight, (value, at) => grid.nearest(value / scaleAt(at)));
  if (!hessian) return { codes: rounded, outputs: null };
  const energyOf = (codes: Uint8Array | null) => {
    const values = codes && Float32Array.from(codes, (code, at) => grid.valueOf(code) * scaleAt(at));
    return kernels.outputEnergy(liveDifference(task, hessian, values), hessian.values, rows, columns);
  };
  const energies = energyOf(null);
  const roundedErrors = energyOf(rounded);
  const { compensation } = hessian;
  if (!compensation)
    return { codes: rounded, outputs: { errorsBefore: roundedErrors, errors: roundedErrors, energies } };
  const { compensated, codes } = solveOnGrid(kernels, task, grid, hessian.values, compensation);
  const errorsBefore = energyOf(compensated);
  const errors = energyOf(codes);
  for (let row = 0; row < rows; row++) {
    if ((errors[row] as number) <= (roundedErrors[row] as number)) continue;
    errors[row] = roundedErrors[row] as number;
    codes.set(rounded.subarray(row * columns, (row + 1) * columns), row * columns);
  }
  return { codes, outputs: { errorsBefore, errors, energies } };
}

function scalesAt({ groupSize, scales }: GivenGrid, columns: number): (at: number) => number {
  const groups = Math.ceil(columns / groupSize);
  return (at) => scales[Math.floor(at / columns) * groups + Math.floor((at % columns) / groupSize)] as number;
}

/** GPTQ's codes, and these improved. */
function solveOnGrid(
  kernels: GridKernels,
  { weight, rows, columns }: GridRowsTask,
  { groupSize, levels, scales, codeAt }: GivenGrid,
  hessian: Float64Array,
  { factor, solveOrder, rounds }: NonNullable<GridHessian['compensation']>,
): { readonly compensated: Uint8Array; readonly codes: Uint8Array } {
  const grid = { groupSize, levels, scales: Float64Array.from(scales), offsets: new Float64Array(scales.length) };
  const problem = { weights: Float64Array.from(weight), rows, columns, grid, codes: new Uint8Array(rows * columns) };
  kernels.gptqOnGrid({ ...problem, factor, solveOrder });
  const compensated = problem.codes.map(codeAt);
  kernels.descendOnGrid({ ...problem, hessian, rounds });
  return { compensated, codes: problem.codes.map(codeAt) };
}
