import type { Kernels } from '../kernels';
import { codeGridOf } from './code-grid-of';
import { METHODS } from './methods';
import type { QuantizedRows, RowBlock, RowFault, SharedProblem } from './row-block';
import { rtn } from './rtn';
import { inOuterOrder, type Quantized, weightDifference, weightErrors } from './weight-errors';

/**
 * Quantizes a block of rows: the method, then the refinements, then the sums for the report.
 *
 * Runs for as long as it takes: only in a worker thread, or between two turns of the event loop for small linears.
 */
export function quantizeRows(kernels: Kernels, shared: SharedProblem, block: RowBlock): QuantizedRows | RowFault {
  const { columns, groupSize } = shared;
  const { rows, weight } = block;
  const invalid = weight.findIndex((w) => !Number.isFinite(w));
  if (invalid >= 0) return { fault: 'non-finite-weight', row: Math.floor(invalid / columns), at: invalid % columns };

  const groups = Math.ceil(columns / groupSize);
  const weights = withoutDeadColumns(inOuterOrder(block, shared), shared);
  const quantized: Quantized = {
    codes: new Uint8Array(rows * columns),
    scales: new Float32Array(rows * groups),
    zeros: new Uint8Array(rows * groups),
  };
  const method = shared.roundToNearest ? rtn : METHODS[shared.recipe.method];
  method.quantizeRows({ kernels, shared, rows, weights, importance: importanceOf(shared), ...quantized });
  const tooLarge = quantized.scales.indexOf(Number.POSITIVE_INFINITY);
  if (tooLarge >= 0) return { fault: 'scale-too-large', row: Math.floor(tooLarge / groups), at: tooLarge % groups };

  const refinements = method.needsHessian ? shared.recipe.refinements : 0;
  return {
    ...outputErrors(kernels, shared, rows, weights, quantized, refinements),
    ...weightErrors(block, quantized, shared),
    ...quantized,
    codes: inSourceOrder(quantized.codes, shared),
  };
}

/** Errors of the outputs; with refinements, after making them smaller. */
function outputErrors(
  kernels: Kernels,
  shared: SharedProblem,
  rows: number,
  weights: Float64Array,
  quantized: Quantized,
  rounds: number,
): Pick<QuantizedRows, 'errors' | 'errorsBefore' | 'energies'> {
  const { columns, groupSize, solvable } = shared;
  const errors = new Float64Array(rows);
  if (!solvable) return { errors, errorsBefore: errors, energies: errors };
  const { hessian } = solvable;
  if (rounds === 0) {
    const unrefined = kernels.outputEnergy(weightDifference(weights, quantized, shared), hessian, rows, columns);
    const energies = kernels.outputEnergy(weights, hessian, rows, columns);
    return { errors: unrefined, errorsBefore: unrefined, energies };
  }
  const sums = { errors, errorsBefore: new Float64Array(rows), energies: new Float64Array(rows) };
  const size = { rows, columns, groupSize, grid: codeGridOf(shared) };
  kernels.refine({ ...size, weights, hessian, ...quantized, rounds, ...sums });
  return sums;
}

function importanceOf({ columns, solvable }: SharedProblem): Float64Array {
  const importance = new Float64Array(columns).fill(1);
  if (!solvable) return importance;
  for (let i = 0; i < columns; i++) importance[i] = Math.max(0, solvable.hessian[i * columns + i] as number);
  return importance;
}

function withoutDeadColumns(weights: Float64Array, { columns, solvable }: SharedProblem): Float64Array {
  if (!solvable?.dead.includes(1)) return weights;
  for (let at = 0; at < weights.length; at++) if (solvable.dead[at % columns]) weights[at] = 0;
  return weights;
}

function inSourceOrder(codes: Uint8Array, { columns, solvable }: SharedProblem): Uint8Array {
  if (!solvable) return codes;
  const { outerOrder } = solvable;
  const ordered = new Uint8Array(codes.length);
  for (let offset = 0; offset < codes.length; offset += columns) {
    for (let i = 0; i < columns; i++) ordered[offset + (outerOrder[i] as number)] = codes[offset + i] as number;
  }
  return ordered;
}
