import { type Kernels, LEAST_GAIN } from '../kernels';
import { codeGridOf } from './code-grid-of';
import { compensate } from './gptq';
import { refinementHessian } from './refinement-hessian';
import type { QuantizedRows, SharedProblem } from './row-block';
import { type Quantized, weightDifference } from './weight-errors';

/** Errors of the outputs after every step; all `[rows]`. */
export type OutputErrors = Pick<
  QuantizedRows,
  'errorsBefore' | 'errorsLearned' | 'errorsRefined' | 'errorsRestarted' | 'errors' | 'energies'
>;

/**
 * Lowers the errors of the outputs by what the recipe asks for: learned rounding; refinements; GPTQ again with the refined scales, and
 * refinements again, where a row keeps the better of both; rounds that solve every group again. A damped Hessian may be what is refined
 * with; the errors that are returned are under the undamped one.
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
  const { learnedRounding = 0, refinements, restarts, groupRounds } = recipe;
  if (!refines || (learnedRounding === 0 && refinements === 0 && groupRounds === 0)) {
    const { hessian } = solvable;
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
  const { hessian, added } = refinementHessian(shared, solvable);
  const problem = { rows, columns, groupSize, grid: codeGridOf(shared), weights, hessian, ...quantized };
  const sums = () => ({ errorsBefore: new Float64Array(rows), errors: new Float64Array(rows) });
  const refine = (rounds: number, resolveGroups: boolean) => {
    const refined = { ...sums(), energies: new Float64Array(rows) };
    kernels.refine({ ...problem, rounds, resolveGroups, ...refined });
    return refined;
  };
  const excess = () => dampedPart(added, weightDifference(weights, quantized, shared), rows);
  const excessBefore = excess();
  const learned = learnedRounding > 0 ? sums() : null;
  if (learned) kernels.learnRounding({ ...problem, rounds: learnedRounding, ...learned });
  const errorsLearned = learned && less(learned.errors, excess());
  const first = refine(refinements, false);
  const errorsRefined = less(first.errors, excess());
  const kept = first.errors.slice();
  for (let k = 0; k < restarts; k++) {
    const before = { codes: quantized.codes.slice(), scales: quantized.scales.slice(), zeros: quantized.zeros.slice() };
    compensate({ kernels, shared, rows, weights, ...quantized }, null);
    keepBetter(quantized, before, kept, refine(refinements, false).errors);
  }
  const errorsRestarted = less(kept, excess());
  const last = groupRounds > 0 ? less(refine(groupRounds, true).errors, excess()) : errorsRestarted;
  return {
    errorsBefore: less((learned ?? first).errorsBefore, excessBefore),
    ...(errorsLearned && { errorsLearned }),
    errorsRefined,
    errorsRestarted,
    errors: last,
    energies: less(first.energies, dampedPart(added, weights, rows)),
  };
}

/** `added ‖x‖²` of each row of x: what the damping adds to its energy. */
function dampedPart(added: number, x: Float64Array, rows: number): Float64Array {
  const columns = x.length / rows;
  return Float64Array.from({ length: rows }, (_, row) => {
    if (added === 0) return 0;
    return added * x.subarray(row * columns, (row + 1) * columns).reduce((sum, value) => sum + value * value, 0);
  });
}

function less(from: Float64Array, what: Float64Array): Float64Array {
  return from.map((value, row) => value - (what[row] as number));
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
