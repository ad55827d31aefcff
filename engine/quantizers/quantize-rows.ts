import type { Kernels } from '../kernels';
import { improve } from './improve';
import type { QuantizedRows, RowBlock, RowFault, SharedProblem } from './row-block';
import { ROW_METHODS, type RowMethodName } from './row-methods';
import { rtn } from './rtn';
import { inOuterOrder, type Quantized, weightErrors } from './weight-errors';

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
  const method = shared.roundToNearest ? rtn : ROW_METHODS[shared.recipe.method as RowMethodName];
  method.quantizeRows({ kernels, shared, rows, weights, importance: importanceOf(shared), ...quantized });
  const tooLarge = quantized.scales.indexOf(Number.POSITIVE_INFINITY);
  if (tooLarge >= 0) return { fault: 'scale-too-large', row: Math.floor(tooLarge / groups), at: tooLarge % groups };

  return {
    ...improve(kernels, shared, rows, weights, quantized, method.factorizes === true),
    ...weightErrors(block, quantized, shared),
    ...quantized,
    codes: inSourceOrder(quantized.codes, shared),
  };
}

function importanceOf({ recipe, columns, roundToNearest, solvable }: SharedProblem): Float64Array {
  const importance = new Float64Array(columns).fill(1);
  if (!solvable) return importance;
  const { factor, solveOrder } = solvable;
  if (recipe.importance === 'pivots' && factor && !roundToNearest) {
    for (let i = 0; i < columns; i++) {
      const u = factor[i * columns + i] as number;
      importance[solveOrder[i] as number] = 1 / (u * u);
    }
    return importance;
  }
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
