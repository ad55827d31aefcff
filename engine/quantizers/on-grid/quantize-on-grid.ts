import type { Recipe } from '../../spec';
import { factorizes } from '../methods';
import type { PreparedHessian, Solvable } from '../prepare-hessian';
import { relativeWeightError, requireFinite } from '../quantize-whole';
import type { QuantizationResult, QuantizedLinear } from '../quantized-linear';
import { ROWS_PER_BLOCK } from '../row-block';
import type { SolverPool } from '../solver-pool';
import type { GridHessian, GridRows, GridRowsTask, OutputSums } from './grid-rows';

export interface LinearForGrid {
  /** `[rows, columns]`: what the codes are to come close to. */
  readonly weight: Float32Array;
  /** The same of the source. */
  readonly original: Float32Array;
  readonly rows: number;
  readonly columns: number;
  readonly recipe: Recipe;
  /** null: none; all columns are alike. */
  readonly hessian: PreparedHessian | null;
  /** `[columns]`: mean squares of the inputs that are known without a Hessian; null: none. */
  readonly importance: Float32Array | null;
  /** For messages. */
  readonly name: string;
  /** Tasks at a time. */
  readonly threads: number;
  readonly signal?: AbortSignal;
}

/** How rows are quantized to a grid that is found before codes are, and how they are put together. */
export interface GridSolver<Part extends GridRows, Linear extends QuantizedLinear> {
  /** @param first of the rows of the task, in the linear. */
  solve(task: GridRowsTask, first: number): Promise<Part>;
  /** @param parts in the order of their rows. */
  join(parts: readonly Part[]): Linear;
}

/** Rows of one task. Fixed; rows do not depend on one another, so it changes no bit. */
const ROWS_PER_TASK = 2 * ROWS_PER_BLOCK;

/**
 * Quantizes one linear to a grid that is found before codes are chosen, off the event loop: by search alone, or with GPTQ's error compensation
 * on that grid, or without, where the Hessian cannot be factorized.
 *
 * @throws QuantloomError NonFiniteWeights; the signal's reason when aborted.
 */
export async function quantizeOnGrid<Part extends GridRows, Linear extends QuantizedLinear>(
  linear: LinearForGrid,
  pool: SolverPool,
  { solve, join }: GridSolver<Part, Linear>,
): Promise<QuantizationResult<Linear>> {
  const { weight, original, rows, columns, recipe, name, threads } = linear;
  requireFinite(original, columns, name);
  const { hessian, solvable } = await hessianFor(linear, pool);
  const importance = hessian ? importanceOf(hessian, columns, recipe) : scaled(linear.importance);
  const count = Math.ceil(rows / ROWS_PER_TASK);
  const parts = new Array<Part>(count);
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const part = next++;
      const first = part * ROWS_PER_TASK;
      const size = Math.min(ROWS_PER_TASK, rows - first);
      const some = weight.slice(first * columns, (first + size) * columns);
      parts[part] = await solve({ weight: some, rows: size, columns, importance, hessian, name }, first);
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, threads) }, lane));
  const result = join(parts);
  const total = (sums: keyof OutputSums) =>
    parts.reduce((sum, { outputs }) => (outputs?.[sums] ?? new Float64Array()).reduce((a, b) => a + b, sum), 0);
  const energy = total('energies');
  const relative = (sums: 'errors' | 'errorsBefore') => (energy > 0 ? total(sums) / energy : null);
  const [relativeError, relativeErrorBeforeRefinement] = [relative('errors'), relative('errorsBefore')];
  const descended = hessian?.compensation && recipe.refinements > 0 && relativeError !== null;
  return {
    linear: result,
    report: {
      rows,
      columns,
      relativeError,
      relativeWeightError: relativeWeightError(original, result),
      relativeErrorBeforeRefinement,
      ...(descended && { relativeErrorAfter: { refinements: relativeError } }),
      rung: solvable?.rung ?? 'not-needed',
      damping: solvable?.damping ?? 0,
      ...(solvable?.condition !== undefined && { condition: solvable.condition }),
      deadColumns: linear.hessian?.deadColumns ?? linear.importance?.filter((mean) => mean === 0).length ?? 0,
    },
  };
}

/** null where there is nothing to weigh errors with. */
async function hessianFor(
  { hessian, recipe, columns, signal }: LinearForGrid,
  pool: SolverPool,
): Promise<{ readonly hessian: GridHessian | null; readonly solvable: Solvable | null }> {
  if (!hessian || hessian.deadColumns === columns) return { hessian: null, solvable: null };
  const { values, dead } = hessian;
  if (!factorizes(recipe)) return { hessian: { values, dead, compensation: null }, solvable: null };
  const solvable = await hessian.solvable(recipe, pool, signal);
  const { factor = null, solveOrder = new Int32Array() } = solvable?.problem ?? {};
  const compensation = factor && { factor: inSharedMemory(factor), solveOrder, rounds: recipe.refinements };
  return { hessian: { values, dead, compensation }, solvable };
}

/** The mean squares of the inputs, but for a factor; what weighs columns in GPTQ is its pivots where the recipe says so. */
function importanceOf({ values, dead, compensation }: GridHessian, columns: number, recipe: Recipe): Float32Array {
  const importance = Float32Array.from({ length: columns }, (_, i) =>
    dead[i] ? 0 : (values[i * columns + i] as number),
  );
  if (recipe.importance !== 'pivots' || !compensation) return importance;
  const { factor, solveOrder } = compensation;
  solveOrder.forEach((column, i) => {
    const u = factor[i * columns + i] as number;
    importance[column] = 1 / (u * u);
  });
  return importance;
}

/** By the power of two that Hessians are scaled by; undefined where there is nothing to weigh errors with. */
function scaled(importance: Float32Array | null): Float32Array | undefined {
  const largest = importance?.reduce((most, mean) => Math.max(most, mean), 0) ?? 0;
  if (largest === 0) return undefined;
  const exponent = Math.floor(Math.log2(largest));
  // In two steps: 2^149, which the smallest subnormal needs, is not a float32.
  const [factor, rest] = [2 ** -Math.trunc(exponent / 2), 2 ** (Math.trunc(exponent / 2) - exponent)];
  return importance?.map((mean) => mean * factor * rest);
}

/** So that threads read it where it lies. */
function inSharedMemory(values: Float64Array): Float64Array {
  if (values.buffer instanceof SharedArrayBuffer) return values;
  const shared = new Float64Array(new SharedArrayBuffer(values.byteLength));
  shared.set(values);
  return shared;
}
