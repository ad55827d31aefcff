import type { GridDescentProblem } from './descend-on-grid';
import type { GridColumnsProblem } from './gptq-on-grid';
import type { Kernels } from './kernels';
import type { NativeAddon, NativeGridRows } from './native-addon';

/** What solving on grids that are given takes. */
export type GridKernels = Pick<Kernels, 'gptqOnGrid' | 'descendOnGrid' | 'outputEnergy'>;

/** The same on the calling thread and whole vectors. */
export function nativeGridKernels(addon: NativeAddon): GridKernels {
  const threads = 1;
  return {
    gptqOnGrid: ({ factor, solveOrder, codes, ...problem }) =>
      addon.gptqOnGrid(rowsOf(problem), solveOrder, factor, codes, threads),
    descendOnGrid: ({ hessian, rounds, codes, ...problem }) =>
      addon.descendOnGrid(rowsOf(problem), hessian, rounds, codes, threads),
    outputEnergy(d, hessian, rows, columns) {
      const energies = new Float64Array(rows);
      addon.outputEnergies(d, hessian, columns, energies, threads);
      return energies;
    },
  };
}

function rowsOf({
  weights,
  rows,
  columns,
  grid,
}: Pick<GridColumnsProblem & GridDescentProblem, 'weights' | 'rows' | 'columns' | 'grid'>): NativeGridRows {
  return { weights, rows, columns, ...grid };
}
