import { setImmediate } from 'node:timers/promises';
import type { FloatType } from '../../spec';
import type { MinifloatLinear } from '../grids/minifloat-grid';
import { type LinearForGrid, quantizeOnGrid } from '../on-grid/quantize-on-grid';
import type { QuantizationResult } from '../quantized-linear';
import type { SolverPool } from '../solver-pool';
import { MINIFLOAT_TYPES, type ScaleLayout, scaleLayout } from './minifloat-types';
import type { MinifloatRows } from './quantize-minifloat-rows';

const NUMBERS_PER_TURN = 1 << 20;

/**
 * Quantizes one linear to floats of a few bits. Scales map the largest magnitude that they are for to the largest float, or are searched around
 * that where the type has such a search and the recipe asks for it; rtn rounds to the nearest, gptq solves on that grid.
 *
 * @param linear its recipe has a `floatType`; `inputScale`: the number that every input is quantized with, where there is one.
 * @throws as quantizeOnGrid.
 */
export async function quantizeToMinifloat(
  linear: LinearForGrid & { readonly inputScale?: number | undefined },
  pool: SolverPool,
): Promise<QuantizationResult<MinifloatLinear>> {
  const { rows, columns, recipe, inputScale, signal } = linear;
  const floatType = recipe.floatType as FloatType;
  const layout = scaleLayout(floatType, rows, columns);
  const type = MINIFLOAT_TYPES[floatType];
  const magnitudes = await largestMagnitudes(linear, layout);
  const searched = recipe.scales === 'search';
  const largest = magnitudes.reduce((most, magnitude) => Math.max(most, magnitude), 0);
  const globalScale = type.globalScaleOf?.(largest, searched) ?? null;
  const scales = Float32Array.from(magnitudes, (magnitude) => type.scaleOf(magnitude, globalScale));
  const known = inputScale === undefined ? {} : { inputScale };
  const result = await quantizeOnGrid(linear, pool, {
    solve: (task, first) => {
      const own = { floatType, groupSize: layout.columnsPerScale, globalScale, searched };
      const ofRows = scalesOfRows(scales, layout, first, task.rows);
      return pool.quantizeMinifloatRows({ ...own, scales: ofRows, ...task }, signal);
    },
    join(parts: readonly MinifloatRows[]) {
      const codes = new Uint8Array(rows * columns);
      let first = 0;
      for (const part of parts) {
        codes.set(part.codes, first * columns);
        // What is searched is for one row.
        if (part.scales) scales.set(part.scales, first * layout.columns);
        first += part.codes.length / columns;
      }
      return { kind: 'minifloat' as const, rows, columns, floatType, codes, scales, globalScale, ...known };
    },
  });
  return { ...result, report: { ...result.report, ...known } };
}

/** Of the weights that a scale is for. */
async function largestMagnitudes(
  { weight, rows, columns, signal }: LinearForGrid,
  layout: ScaleLayout,
): Promise<Float32Array> {
  const largest = new Float32Array(layout.rows * layout.columns);
  const rowsPerTurn = Math.max(1, Math.floor(NUMBERS_PER_TURN / columns));
  for (let row = 0; row < rows; row++) {
    const first = Math.floor(row / layout.rowsPerScale) * layout.columns;
    for (let column = 0; column < columns; column++) {
      const magnitude = Math.abs(weight[row * columns + column] as number);
      const at = first + Math.floor(column / layout.columnsPerScale);
      if (magnitude > (largest[at] as number)) largest[at] = magnitude;
    }
    if (row % rowsPerTurn !== rowsPerTurn - 1) continue;
    await setImmediate();
    signal?.throwIfAborted();
  }
  return largest;
}

/** `[count, groups]` */
function scalesOfRows(scales: Float32Array, layout: ScaleLayout, first: number, count: number): Float32Array {
  const { columns } = layout;
  return Float32Array.from({ length: count * columns }, (_, at) => {
    const row = Math.floor((first + Math.floor(at / columns)) / layout.rowsPerScale);
    return scales[row * columns + (at % columns)] as number;
  });
}
