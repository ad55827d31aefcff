import type { GridKernels, KernelChoice } from '../../kernels';
import { nearestCode } from '../../kernels/code-grid';
import { type CodesOnGrid, codesOnGrid } from '../on-grid/codes-on-grid';
import type { GridRowsTask } from '../on-grid/grid-rows';

/** Some rows of a weight that has one scale. Plain data, since it crosses threads. */
export interface TensorRowsTask extends GridRowsTask {
  /** Largest code. */
  readonly largest: number;
  readonly scale: number;
  readonly zero: number;
  /** Default: `typescript`. */
  readonly kernels?: KernelChoice;
}

/** See codesOnGrid. */
export function quantizeTensorRows(kernels: GridKernels, task: TensorRowsTask): CodesOnGrid {
  const { rows, columns, largest, scale, zero } = task;
  return codesOnGrid(kernels, task, {
    groupSize: columns,
    scales: new Float32Array(rows).fill(scale),
    levels: Float64Array.from({ length: largest + 1 }, (_, code) => code - zero),
    codeAt: (place) => place,
    valueOf: (code) => code - zero,
    nearest: (scaled) => nearestCode(scaled, zero, largest),
  });
}
