import { codeGridOf } from './code-grid-of';
import type { MethodProblem, RowMethod } from './row-block';

/** Round-to-nearest: scales from the extremes or by search, each weight rounded for itself. */
export const rtn: RowMethod = {
  name: 'rtn',
  grids: ['affine', 'minifloat'],
  needsHessian: false,
  quantizeRows(problem: MethodProblem): void {
    const { kernels, shared } = problem;
    const rounding = { ...problem, columns: shared.columns, groupSize: shared.groupSize, grid: codeGridOf(shared) };
    const search = shared.recipe.scales === 'search' || shared.roundToNearest;
    kernels.findScales({ ...rounding, search, neighbours: shared.recipe.zeros === 'neighbours' });
    kernels.roundToNearest(rounding);
  },
};
