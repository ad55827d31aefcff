import type { GptqProblem } from '../kernels';
import { codeGridOf } from './code-grid-of';
import type { MethodProblem, RowMethod } from './row-block';

/**
 * GPTQ (Frantar et al. 2022, Algorithm 1). Static act-order: scales come from the original weights, columns are taken by falling
 * diagonal of the Hessian. Otherwise a group's scale is found when its first column is reached, from the compensated weights.
 */
export const gptq: RowMethod = {
  name: 'gptq',
  grids: ['affine', 'blocks', 'minifloat'],
  needsHessian: true,
  factorizes: true,
  quantizeRows(problem: MethodProblem): void {
    const { kernels, shared, rows, weights, importance, scales, zeros } = problem;
    const { columns, groupSize, recipe } = shared;
    const grid = codeGridOf(shared);
    const search = recipe.scales === 'search';
    const neighbours = recipe.zeros === 'neighbours';
    const staticGroups = recipe.actOrder === 'static';
    const size = { rows, columns, groupSize, grid, scales, zeros };
    if (staticGroups) kernels.findScales({ ...size, weights, importance, search, neighbours });
    compensate(problem, staticGroups ? null : { importance, search, neighbours });
  },
};

/** GPTQ's column loop in the order of solving; scales and zero points are given, or found on the way. */
export function compensate(
  { kernels, shared, rows, weights, codes, scales, zeros }: Omit<MethodProblem, 'importance'>,
  scaling: GptqProblem['scaling'],
): void {
  const { columns, groupSize, solvable } = shared;
  if (!solvable?.factor) throw new RangeError('gptq needs a factorized Hessian');
  const { solveOrder, factor } = solvable;
  const ordered = new Float64Array(rows * columns);
  const orderedCodes = new Uint8Array(rows * columns);
  const groupOf = solveOrder.map((column) => Math.floor(column / groupSize));
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < columns; i++) {
      ordered[row * columns + i] = weights[row * columns + (solveOrder[i] as number)] as number;
    }
  }
  const size = { rows, columns, groupSize, grid: codeGridOf(shared), scales, zeros };
  kernels.gptqColumns({ ...size, weights: ordered, factor, groupOf, scaling, codes: orderedCodes });
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < columns; i++) {
      codes[row * columns + (solveOrder[i] as number)] = orderedCodes[row * columns + i] as number;
    }
  }
}
