import type { QuantizedRows, RowBlock, SharedProblem } from './row-block';

/** Codes, scales and zero points of some rows. */
export type Quantized = Pick<QuantizedRows, 'codes' | 'scales' | 'zeros'>;

/** `W - Q`, `[rows, columns]`, all in the order in which groups are contiguous. */
export function weightDifference(weights: Float64Array, quantized: Quantized, shared: SharedProblem): Float64Array {
  const { columns, groupSize } = shared;
  const { codes, scales, zeros } = quantized;
  const groups = Math.ceil(columns / groupSize);
  const difference = new Float64Array(weights.length);
  for (let at = 0, row = 0; at < weights.length; row++) {
    for (let column = 0; column < columns; column++, at++) {
      const group = row * groups + Math.floor(column / groupSize);
      const step = (codes[at] as number) - (zeros[group] as number);
      difference[at] = (weights[at] as number) - step * (scales[group] as number);
    }
  }
  return difference;
}

/** `‖ΔW‖²` and `‖W‖²` of each row, against the weights of the source: what zeroing dead columns costs counts. */
export function weightErrors(
  block: RowBlock,
  quantized: Quantized,
  shared: SharedProblem,
): Pick<QuantizedRows, 'weightErrors' | 'weightEnergies'> {
  const { columns } = shared;
  const original = inOuterOrder(block, shared);
  const difference = weightDifference(original, quantized, shared);
  const errors = new Float64Array(block.rows);
  const energies = new Float64Array(block.rows);
  for (let row = 0; row < block.rows; row++) {
    for (let at = row * columns; at < (row + 1) * columns; at++) {
      errors[row] = (errors[row] as number) + (difference[at] as number) ** 2;
      energies[row] = (energies[row] as number) + (original[at] as number) ** 2;
    }
  }
  return { weightErrors: errors, weightEnergies: energies };
}

/** The block's weights in float64, columns in the order in which groups are contiguous. */
export function inOuterOrder({ weight, rows }: RowBlock, { columns, solvable }: SharedProblem): Float64Array {
  const ordered = Float64Array.from(weight);
  if (!solvable) return ordered;
  const { outerOrder } = solvable;
  for (let row = 0; row < rows; row++) {
    const offset = row * columns;
    for (let i = 0; i < columns; i++) ordered[offset + i] = weight[offset + (outerOrder[i] as number)] as number;
  }
  return ordered;
}
