import type { CodeGrid } from '../kernels';
import type { SharedProblem } from './row-block';

/** The grid of codes that a recipe and a file format allow. */
export function codeGridOf({ recipe, minimumZero }: SharedProblem): CodeGrid {
  return { levels: 2 ** recipe.bits - 1, symmetric: recipe.symmetric, minimumZero };
}
