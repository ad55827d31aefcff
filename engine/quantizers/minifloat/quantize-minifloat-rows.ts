import type { GridKernels, KernelChoice } from '../../kernels';
import { type Minifloat, minifloatCode, minifloatValues } from '../../numbers';
import type { FloatType } from '../../spec';
import { type GridHessian, type GridRows, type GridRowsTask, liveDifference } from '../on-grid/grid-rows';
import { effectiveScale, MINIFLOAT_TYPES } from './minifloat-types';

/** Some rows that become floats of a few bits. Plain data, since it crosses threads. */
export interface MinifloatRowsTask extends GridRowsTask {
  readonly floatType: FloatType;
  /** Columns that share a scale. */
  readonly groupSize: number;
  /** `[rows, groups]`, to begin with. */
  readonly scales: Float32Array;
  /** null: none. */
  readonly globalScale: number | null;
  /** Whether scales around these are tried. */
  readonly searched: boolean;
  /** Default: `typescript`. */
  readonly kernels?: KernelChoice;
}

export interface MinifloatRows extends GridRows {
  /** `[rows, columns]`: bits of the floats. */
  readonly codes: Uint8Array;
  /** `[rows, groups]`; null: as they were given. */
  readonly scales: Float32Array | null;
}

/**
 * Rounds some rows to floats, each weight for itself, with scales that are searched where the task says so. With a factorized Hessian the codes are then GPTQ's on that grid, improved by coordinate
 * descent; a row on which that is no better keeps what rounding gives.
 */
export function quantizeMinifloatRows(kernels: GridKernels, task: MinifloatRowsTask): MinifloatRows {
  const { rows, columns, hessian } = task;
  const { element, neighbours } = MINIFLOAT_TYPES[task.floatType];
  const scales = task.searched && neighbours ? searchedScales(task, element, neighbours) : null;
  const effective = (scales ?? task.scales).map((scale) => effectiveScale(scale, task.globalScale));
  const rounded = roundRows(task, effective, element);
  if (!hessian) return { codes: rounded, scales, outputs: null };
  const energyOf = (codes: Uint8Array | null) =>
    kernels.outputEnergy(
      liveDifference(task, hessian, codes && valuesOf(codes, task, effective, element)),
      hessian.values,
      rows,
      columns,
    );
  const energies = energyOf(null);
  const roundedErrors = energyOf(rounded);
  const { compensation } = hessian;
  if (!compensation) {
    return { codes: rounded, scales, outputs: { errorsBefore: roundedErrors, errors: roundedErrors, energies } };
  }
  const { compensated, codes } = solveOnFloats(kernels, task, effective, element, hessian.values, compensation);
  const errorsBefore = energyOf(compensated);
  const errors = energyOf(codes);
  for (let row = 0; row < rows; row++) {
    if ((errors[row] as number) <= (roundedErrors[row] as number)) continue;
    errors[row] = roundedErrors[row] as number;
    codes.set(rounded.subarray(row * columns, (row + 1) * columns), row * columns);
  }
  return { codes, scales, outputs: { errorsBefore, errors, energies } };
}

/** Of a scale and those around it the one with the least squared error, weighted by the importance of columns; the first of equals. */
function searchedScales(
  { weight, rows, columns, groupSize, scales, globalScale, importance }: MinifloatRowsTask,
  element: Minifloat,
  neighbours: (scale: number) => readonly number[],
): Float32Array {
  const groups = Math.ceil(columns / groupSize);
  const values = minifloatValues(element);
  const errorOf = (row: number, first: number, scale: number) => {
    const effective = effectiveScale(scale, globalScale);
    let error = 0;
    for (let column = first; column < Math.min(columns, first + groupSize); column++) {
      const w = weight[row * columns + column] as number;
      const off = w - (values[minifloatCode(element, Math.fround(w / effective))] as number) * effective;
      error += (importance?.[column] ?? 1) * off * off;
    }
    return error;
  };
  const found = new Float32Array(rows * groups);
  for (let row = 0; row < rows; row++) {
    for (let group = 0; group < groups; group++) {
      const at = row * groups + group;
      let best = scales[at] as number;
      let least = errorOf(row, group * groupSize, best);
      for (const scale of neighbours(best)) {
        const error = errorOf(row, group * groupSize, scale);
        if (!(error < least)) continue;
        least = error;
        best = scale;
      }
      found[at] = best;
    }
  }
  return found;
}

function roundRows(
  { weight, columns, groupSize }: MinifloatRowsTask,
  scales: Float32Array,
  element: Minifloat,
): Uint8Array {
  const groups = Math.ceil(columns / groupSize);
  return Uint8Array.from(weight, (value, at) => {
    const scale = scales[Math.floor(at / columns) * groups + Math.floor((at % columns) / groupSize)] as number;
    return minifloatCode(element, Math.fround(value / scale));
  });
}

function valuesOf(
  codes: Uint8Array,
  { columns, groupSize }: MinifloatRowsTask,
  scales: Float32Array,
  element: Minifloat,
): Float32Array {
  const groups = Math.ceil(columns / groupSize);
  const values = minifloatValues(element);
  return Float32Array.from(codes, (code, at) => {
    const scale = scales[Math.floor(at / columns) * groups + Math.floor((at % columns) / groupSize)] as number;
    return (values[code] as number) * scale;
  });
}

/** GPTQ's codes, and these improved. */
function solveOnFloats(
  kernels: GridKernels,
  { weight, rows, columns, groupSize }: MinifloatRowsTask,
  scales: Float32Array,
  { magnitudes, sign }: Minifloat,
  hessian: Float64Array,
  { factor, solveOrder, rounds }: NonNullable<GridHessian['compensation']>,
): { readonly compensated: Uint8Array; readonly codes: Uint8Array } {
  // By rising value: -largest .. -smallest, 0, smallest .. largest.
  const last = magnitudes.length - 1;
  const codeAt = (place: number) => (place < last ? (last - place) | sign : place - last);
  const levels = Float64Array.from({ length: 2 * last + 1 }, (_, place) => {
    const magnitude = magnitudes[Math.abs(place - last)] as number;
    return place < last ? -magnitude : magnitude;
  });
  const grid = { groupSize, levels, scales: Float64Array.from(scales), offsets: new Float64Array(scales.length) };
  const problem = { weights: Float64Array.from(weight), rows, columns, grid, codes: new Uint8Array(rows * columns) };
  kernels.gptqOnGrid({ ...problem, factor, solveOrder });
  const compensated = problem.codes.map(codeAt);
  kernels.descendOnGrid({ ...problem, hessian, rounds });
  return { compensated, codes: problem.codes.map(codeAt) };
}
