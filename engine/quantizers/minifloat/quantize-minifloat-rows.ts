import type { GridKernels, KernelChoice } from '../../kernels';
import { type Minifloat, minifloatCode, minifloatValues } from '../../numbers';
import type { FloatType } from '../../spec';
import { type CodesOnGrid, codesOnGrid, type GivenGrid } from '../on-grid/codes-on-grid';
import type { GridRowsTask } from '../on-grid/grid-rows';
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

/** Codes are the bits of the floats. */
export interface MinifloatRows extends CodesOnGrid {
  /** `[rows, groups]`; null: as they were given. */
  readonly scales: Float32Array | null;
}

/**
 * Rounds some rows to floats, each weight for itself, with scales that are searched where the task says so. With a factorized Hessian the codes are then GPTQ's on that grid, improved by coordinate
 * descent; a row on which that is no better keeps what rounding gives.
 */
export function quantizeMinifloatRows(kernels: GridKernels, task: MinifloatRowsTask): MinifloatRows {
  const { element, neighbours } = MINIFLOAT_TYPES[task.floatType];
  const scales = task.searched && neighbours ? searchedScales(task, element, neighbours) : null;
  const effective = (scales ?? task.scales).map((scale) => effectiveScale(scale, task.globalScale));
  return { ...codesOnGrid(kernels, task, gridOf(element, task.groupSize, effective)), scales };
}

function gridOf(element: Minifloat, groupSize: number, scales: Float32Array): GivenGrid {
  const { magnitudes, sign } = element;
  const values = minifloatValues(element);
  // By rising value: -largest .. -smallest, 0, smallest .. largest.
  const last = magnitudes.length - 1;
  const levels = Float64Array.from({ length: 2 * last + 1 }, (_, place) => {
    const magnitude = magnitudes[Math.abs(place - last)] as number;
    return place < last ? -magnitude : magnitude;
  });
  return {
    ...{ groupSize, scales, levels },
    codeAt: (place) => (place < last ? (last - place) | sign : place - last),
    valueOf: (code) => values[code] as number,
    nearest: (scaled) => minifloatCode(element, Math.fround(scaled)),
  };
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
