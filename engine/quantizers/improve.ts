import type { Kernels } from '../kernels';
import { codeGridOf } from './code-grid-of';
import { compensate } from './gptq';
import type { QuantizedRows, SharedProblem } from './row-block';
import { type Quantized, weightDifference } from './weight-errors';

/** A restart has to be better by this share: less is noise, in which two ways to compute could differ. */
const LEAST_GAIN = 1e-9;

/** Errors of the outputs after every step; all `[rows]`. */
export type OutputErrors = Pick<
  QuantizedRows,
  'errorsBefore' | 'errorsRefined' | 'errorsRestarted' | 'errors' | 'energies'
>;

/**
 * Lowers the errors of the outputs by what the recipe asks for: refinements; GPTQ again with the refined scales, and refinements again,
 * where a row keeps the better of both; rounds that solve every group again.
 *
 * @param refines false: only the errors are taken.
 */
export function improve(
  kernels: Kernels,
  shared: SharedProblem,
  rows: number,
  weights: Float64Array,
  quantized: Quantized,
  refines: boolean,
): OutputErrors {
  const { recipe, columns, groupSize, solvable } = shared;
  const nothing = new Float64Array(rows);
  if (!solvable) {
    return {
      errorsBefore: nothing,
      errorsRefined: nothing,
      errorsRestarted: nothing,
      errors: nothing,
      energies: nothing,
    };
  }
  const { hessian } = solvable;
  if (!refines || (recipe.refinements === 0 && recipe.groupRounds === 0)) {
    const unrefined = kernels.outputEnergy(weightDifference(weights, quantized, shared), hessian, rows, columns);
    const energies = kernels.outputEnergy(weights, hessian, rows, columns);
    return {
      errorsBefore: unrefined,
      errorsRefined: unrefined,
      errorsRestarted: unrefined,
      errors: unrefined,
      energies,
    };
  }
  const refine = (rounds: number, resolveGroups: boolean) => {
    const sums = {
      errorsBefore: new Float64Array(rows),
      errors: new Float64Array(rows),
      energies: new Float64Array(rows),
    };
    const size = { rows, columns, groupSize, grid: codeGridOf(shared) };
    kernels.refine({ ...size, weights, hessian, ...quantized, rounds, resolveGroups, ...sums });
    return sums;
  };
  const { errorsBefore, errors, energies } = refine(recipe.refinements, false);
  const errorsRestarted = errors.slice();
  for (let k = 0; k < recipe.restarts; k++) {
    const kept = { codes: quantized.codes.slice(), scales: quantized.scales.slice(), zeros: quantized.zeros.slice() };
    compensate({ kernels, shared, rows, weights, ...quantized }, null);
    keepBetter(quantized, kept, errorsRestarted, refine(recipe.refinements, false).errors);
  }
  const last = recipe.groupRounds > 0 ? refine(recipe.groupRounds, true).errors : errorsRestarted;
  return { errorsBefore, errorsRefined: errors, errorsRestarted, errors: last, energies };
}

/** A row that did not get better becomes what it was; the errors follow. */
function keepBetter(quantized: Quantized, kept: Quantized, errors: Float64Array, after: Float64Array): void {
  const rows = errors.length;
  for (let row = 0; row < rows; row++) {
    if ((after[row] as number) < (errors[row] as number) * (1 - LEAST_GAIN)) {
      errors[row] = after[row] as number;
      continue;
    }
    for (const part of ['codes', 'scales', 'zeros'] as const) {
      const size = kept[part].length / rows;
      quantized[part].set(kept[part].subarray(row * size, (row + 1) * size), row * size);
    }
  }
}
