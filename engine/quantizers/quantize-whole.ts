import { QuantloomError } from '../spec';
import { gridOf } from './grids/grids';
import type { LinearToQuantize } from './quantize-linear';
import type { QuantizationResult, QuantizedLinear } from './quantized-linear';
import type { WholeMethod } from './whole-method';

/** Numbers that are dequantized at once, for their error. */
const NUMBERS_AT_ONCE = 1 << 16;

/**
 * Quantizes one linear by a method that takes it whole. The report has the error of the weight only.
 *
 * @throws QuantloomError NonFiniteWeights naming row and column; UnsupportedInput. The signal's reason when aborted.
 */
export async function quantizeWhole(method: WholeMethod, options: LinearToQuantize): Promise<QuantizationResult> {
  const { weight, rows, columns, recipe, dtype = 'F32', name = 'the linear', signal } = options;
  if (weight.length !== rows * columns) {
    throw new RangeError(`${name}: ${weight.length} weights, expected ${rows} x ${columns}`);
  }
  signal?.throwIfAborted();
  requireFinite(weight, columns, name);
  const linear = await method.quantize({ weight, rows, columns, recipe, dtype, name, signal });
  return {
    linear,
    report: {
      rows,
      columns,
      relativeError: null,
      relativeWeightError: relativeWeightError(weight, linear),
      relativeErrorBeforeRefinement: null,
      rung: 'not-needed',
      damping: 0,
      deadColumns: 0,
    },
  };
}

/** @throws QuantloomError NonFiniteWeights naming row and column. */
export function requireFinite(weight: Float32Array, columns: number, name: string): void {
  const invalid = weight.findIndex((value) => !Number.isFinite(value));
  if (invalid === -1) return;
  const [row, column] = [Math.floor(invalid / columns), invalid % columns];
  throw new QuantloomError(
    'NonFiniteWeights',
    `The weight of ${name} is ${weight[invalid]} at row ${row}, column ${column}. Check the source model.`,
    { details: { row, at: column } },
  );
}

/** ‖ΔW‖² / ‖W‖². */
export function relativeWeightError(weight: Float32Array, linear: QuantizedLinear): number {
  const { rows, columns } = linear;
  const read = gridOf(linear).open(linear);
  const rowsAtOnce = Math.max(1, Math.floor(NUMBERS_AT_ONCE / columns));
  const memory = new Float32Array(Math.min(rows, rowsAtOnce) * columns);
  let [error, energy] = [0, 0];
  for (let first = 0; first < rows; first += rowsAtOnce) {
    const count = Math.min(rowsAtOnce, rows - first);
    const quantized = memory.subarray(0, count * columns);
    read(first, count, quantized);
    for (let at = 0; at < quantized.length; at++) {
      const value = weight[first * columns + at] as number;
      error += (value - (quantized[at] as number)) ** 2;
      energy += value ** 2;
    }
  }
  return energy > 0 ? error / energy : 0;
}
