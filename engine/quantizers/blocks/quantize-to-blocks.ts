import type { QuantizedBlockType, Recipe } from '../../spec';
import type { BlocksLinear } from '../grids/blocks-grid';
import type { PreparedHessian, Solvable } from '../prepare-hessian';
import { relativeWeightError, requireFinite } from '../quantize-whole';
import type { QuantizationResult } from '../quantized-linear';
import { ROWS_PER_BLOCK } from '../row-block';
import type { SolverPool } from '../solver-pool';
import type { BlockHessian, BlockRows } from './quantize-block-rows';

export interface LinearForBlocks {
  /** `[rows, columns]`: what the blocks are to come close to. */
  readonly weight: Float32Array;
  /** The same of the source. */
  readonly original: Float32Array;
  readonly rows: number;
  readonly columns: number;
  /** With a `blockType`. */
  readonly recipe: Recipe;
  /** null: none; all columns are alike. */
  readonly hessian: PreparedHessian | null;
  /** For messages. */
  readonly name: string;
  /** Tasks at a time. */
  readonly threads: number;
  readonly signal?: AbortSignal;
}

/** Rows of one task. Fixed; rows do not depend on one another, so it changes no bit. */
const ROWS_PER_TASK = 2 * ROWS_PER_BLOCK;

/**
 * Quantizes one linear to blocks of GGUF, off the event loop: kquants by search alone, gptq with error compensation on the grid that the search
 * found, or without, where the Hessian cannot be factorized.
 *
 * @throws QuantloomError NonFiniteWeights; the signal's reason when aborted.
 */
export async function quantizeToBlocks(
  linear: LinearForBlocks,
  pool: SolverPool,
): Promise<QuantizationResult<BlocksLinear>> {
  const { weight, original, rows, columns, recipe, name, threads, signal } = linear;
  requireFinite(original, columns, name);
  const blockType = recipe.blockType as QuantizedBlockType;
  const { hessian, solvable } = await hessianFor(linear, pool);
  const importance = hessian ? importanceOf(hessian, columns, recipe) : undefined;
  const count = Math.ceil(rows / ROWS_PER_TASK);
  const parts = new Array<BlockRows>(count);
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const part = next++;
      const first = part * ROWS_PER_TASK;
      const size = Math.min(ROWS_PER_TASK, rows - first);
      const task = { blockType, weight: weight.slice(first * columns, (first + size) * columns), rows: size, columns };
      parts[part] = await pool.quantizeBlockRows({ ...task, importance, hessian, name }, signal);
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, threads) }, lane));
  const blocks = Buffer.concat(parts.map((part) => part.blocks));
  const result: BlocksLinear = {
    ...{ kind: 'blocks', rows, columns, blockType },
    blocks: new Uint8Array(blocks.buffer, blocks.byteOffset, blocks.length),
  };
  const total = (sums: keyof NonNullable<BlockRows['outputs']>) =>
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
      deadColumns: linear.hessian?.deadColumns ?? 0,
    },
  };
}

/** null where there is nothing to weigh errors with. */
async function hessianFor(
  { hessian, recipe, columns, signal }: LinearForBlocks,
  pool: SolverPool,
): Promise<{ readonly hessian: BlockHessian | null; readonly solvable: Solvable | null }> {
  if (!hessian || hessian.deadColumns === columns) return { hessian: null, solvable: null };
  const { values, dead } = hessian;
  if (recipe.method === 'kquants') return { hessian: { values, dead, compensation: null }, solvable: null };
  const solvable = await hessian.solvable(recipe, pool, signal);
  const { factor = null, solveOrder = new Int32Array() } = solvable?.problem ?? {};
  const compensation = factor && { factor: inSharedMemory(factor), solveOrder, rounds: recipe.refinements };
  return { hessian: { values, dead, compensation }, solvable };
}

/** The mean squares of the inputs, but for a factor; what weighs columns in GPTQ is its pivots where the recipe says so. */
function importanceOf({ values, dead, compensation }: BlockHessian, columns: number, recipe: Recipe): Float32Array {
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

/** So that threads read it where it lies. */
function inSharedMemory(values: Float64Array): Float64Array {
  if (values.buffer instanceof SharedArrayBuffer) return values;
  const shared = new Float64Array(new SharedArrayBuffer(values.byteLength));
  shared.set(values);
  return shared;
}
