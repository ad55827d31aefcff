import { setImmediate } from 'node:timers/promises';
import { referenceKernels } from '../../kernels';
import { QuantloomError } from '../../spec';
import type { AffineLinear } from '../grids/affine-grid';
import { type LinearForGrid, quantizeOnGrid } from '../on-grid/quantize-on-grid';
import { requireFinite } from '../quantize-whole';
import type { QuantizationResult } from '../quantized-linear';
import type { SolverPool } from '../solver-pool';

/** Of the weights that a scale is searched with: a single number is as good as settled by so many. */
const WEIGHTS_OF_SEARCH = 1 << 17;
const ROWS_PER_TURN = 256;

export interface LinearPerTensor extends LinearForGrid {
  /** Of zero points that the file can hold. */
  readonly minimumZero: 0 | 1;
}

/**
 * Quantizes one linear to integers with one scale, and zero point, for all of the weight: from its extremes, or by the search of
 * groups (findScale) over rows spread evenly, which are weighed by the diagonal of the Hessian where there is one. Codes are GPTQ's on that grid
 * where the method is that, and improved by coordinate descent.
 *
 * @returns a linear with the scale repeated for every row.
 * @throws QuantloomError UnsupportedInput for a scale above float16; else as quantizeOnGrid.
 */
export async function quantizePerTensor(
  linear: LinearPerTensor,
  pool: SolverPool,
): Promise<QuantizationResult<AffineLinear>> {
  const { original, rows, columns, recipe, name, signal } = linear;
  const { bits, symmetric } = recipe;
  requireFinite(original, columns, name);
  const largest = 2 ** bits - 1;
  const { scale, zero } = await scaleOf(linear, largest);
  return quantizeOnGrid(linear, pool, {
    solve: (task) => pool.quantizeTensorRows({ ...task, largest, scale, zero }, signal),
    join(parts) {
      const codes = new Uint8Array(rows * columns);
      let first = 0;
      for (const part of parts) {
        codes.set(part.codes, first);
        first += part.codes.length;
      }
      return {
        ...{ kind: 'affine' as const, rows, columns, bits, groupSize: columns, symmetric, codes },
        perTensor: true as const,
        scales: new Float32Array(rows).fill(scale),
        zeros: new Uint8Array(rows).fill(zero),
        groupOf: new Int32Array(columns),
      };
    },
  });
}

async function scaleOf(linear: LinearPerTensor, largest: number): Promise<{ scale: number; zero: number }> {
  const { weight, columns, recipe, hessian, minimumZero, name } = linear;
  const search = recipe.scales === 'search';
  const looked = await rowsToLookAt(linear, search);
  const count = looked.length * columns;
  const weights = new Float64Array(count);
  const importance = new Float64Array(count);
  for (const [at, row] of looked.entries()) {
    for (let column = 0; column < columns; column++) {
      const weighs = hessian ? Math.max(0, hessian.values[column * columns + column] as number) : 1;
      const live = hessian?.dead[column] ? 0 : 1;
      weights[at * columns + column] = live * (weight[row * columns + column] as number);
      importance[at * columns + column] = live * weighs;
    }
  }
  const scales = new Float32Array(1);
  const zeros = new Uint8Array(1);
  referenceKernels.findScales({
    ...{ weights, rows: 1, columns: count, groupSize: count, importance, scales, zeros },
    ...{ grid: { levels: largest, symmetric: recipe.symmetric, minimumZero }, search },
    neighbours: recipe.zeros === 'neighbours',
  });
  const [scale = 0] = scales;
  const [zero = 0] = zeros;
  if (Number.isFinite(scale)) return { scale, zero };
  throw new QuantloomError(
    'UnsupportedInput',
    `The weights of ${name} need a scale above 65504, the largest float16. Keep this module in 16 bit (override with skip).`,
  );
}

/** Those of the least and of the largest weight; for a search, others too. Rising. */
async function rowsToLookAt(
  { weight, rows, columns, hessian, signal }: LinearPerTensor,
  search: boolean,
): Promise<number[]> {
  const extremes = [0, 0];
  let [least, most] = [0, 0];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const w = weight[row * columns + column] as number;
      if ((w >= least && w <= most) || hessian?.dead[column]) continue;
      extremes[w < least ? 0 : 1] = row;
      if (w < least) least = w;
      else most = w;
    }
    if (row % ROWS_PER_TURN !== ROWS_PER_TURN - 1) continue;
    await setImmediate();
    signal?.throwIfAborted();
  }
  const spread = search ? Math.min(rows, Math.max(1, Math.floor(WEIGHTS_OF_SEARCH / columns))) : 0;
  const evenly = Array.from({ length: spread }, (_, i) => Math.floor((i * rows) / spread));
  return [...new Set([...extremes, ...evenly])].sort((a, b) => a - b);
}
