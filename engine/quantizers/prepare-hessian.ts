import { setImmediate } from 'node:timers/promises';
import { QuantloomError, type Recipe } from '../spec';
import { conditionAtLeast, type Factorization } from './factorize';
import { factorizes } from './methods';
import type { SolvableHessian } from './row-block';
import type { SolverPool } from './solver-pool';

/** A Hessian that is checked and ready for all linears that share it: each factorization is made once. */
export interface PreparedHessian {
  readonly columns: number;
  /** `[columns, columns]`, scaled; the diagonal of dead columns is 1. In shared memory. */
  readonly values: Float64Array;
  /** What the values are scaled by. */
  readonly scale: number;
  /** `[columns]`: 1 where the input was zero in all of the calibration. */
  readonly dead: Uint8Array;
  readonly deadColumns: number;
  /**
   * What a recipe needs of it. Factorizations are remembered by act-order and damping; nothing is factorized for a method that
   * does not need it. null when every column is dead: there is nothing to weigh errors with.
   */
  solvable(recipe: Factorized, pool: SolverPool, signal?: AbortSignal): Promise<Solvable | null>;
}

/** What of a recipe decides how a Hessian is factorized. */
export type Factorized = Pick<Recipe, 'method' | 'actOrder' | 'damping'>;

export interface Solvable extends Pick<Factorization, 'damping'> {
  readonly problem: SolvableHessian;
  readonly rung: Factorization['rung'];
  /** See conditionAtLeast; absent where nothing was factorized. */
  readonly condition?: number;
}

/** Numbers that are looked at before the event loop gets a turn. */
const NUMBERS_PER_TURN = 1 << 22;

/**
 * Checks a Hessian and copies it to shared memory in float64: dead columns (H_ii = 0) get H_ii = 1, and all is scaled by a power of
 * two (which changes no code) so that neither huge nor tiny activations overflow.
 *
 * @param hessian `[columns, columns]`, symmetric: mean of x xᵀ per token. It is not changed.
 * @param options.name for messages: whose Hessian it is.
 * @param options.memory for the copy, 8 bytes for each entry. Default: memory of its own.
 * @throws QuantloomError InvalidCalibration when an entry is not finite or it is not square.
 */
export async function prepareHessian(
  hessian: Float64Array | Float32Array,
  options: { readonly name?: string; readonly memory?: SharedArrayBuffer } = {},
): Promise<PreparedHessian> {
  const columns = Math.sqrt(hessian.length);
  const name = options.name ?? 'the linear';
  if (!Number.isInteger(columns) || columns === 0) {
    throw new QuantloomError(
      'InvalidCalibration',
      `The Hessian of ${name} has ${hessian.length} entries, which is not a square.`,
    );
  }
  const { values, scale } = await scaledCopy(
    hessian,
    columns,
    name,
    options.memory ?? new SharedArrayBuffer(hessian.length * 8),
  );
  const dead = Uint8Array.from({ length: columns }, (_, i) => (values[i * columns + i] === 0 ? 1 : 0));
  const deadColumns = dead.reduce((sum, flag) => sum + flag, 0);
  for (let i = 0; i < columns; i++) if (dead[i]) values[i * columns + i] = 1;

  const remembered = new Map<string, Promise<Solvable>>();
  const make = async (recipe: Factorized, pool: SolverPool, signal?: AbortSignal): Promise<Solvable> => {
    const problem = await ordered(values, dead, columns, recipe);
    if (!factorizes(recipe)) return { problem, rung: 'not-needed', damping: 0 };
    const { damping } = recipe;
    const { solveOrder, hessian: matrix } = problem;
    const task = { hessian: matrix, columns, solveOrder, dead: problem.dead, damping };
    const { factor, ...rest } = await pool.factorize(task, signal);
    const condition = factor ? { condition: conditionAtLeast(factor, task) } : {};
    return { problem: { ...problem, factor }, ...rest, ...condition };
  };
  return {
    columns,
    values,
    scale,
    dead,
    deadColumns,
    async solvable(recipe, pool, signal) {
      if (deadColumns === columns) return null;
      const key = `${factorizes(recipe)} ${recipe.actOrder} ${recipe.damping}`;
      const known = remembered.get(key);
      if (known) return known;
      const made = make(recipe, pool, signal);
      remembered.set(key, made);
      made.catch(() => remembered.delete(key));
      return made;
    },
  };
}

async function scaledCopy(
  hessian: Float64Array | Float32Array,
  columns: number,
  name: string,
  memory: SharedArrayBuffer,
) {
  let largest = 0;
  for (let start = 0; start < hessian.length; start += NUMBERS_PER_TURN) {
    const stop = Math.min(start + NUMBERS_PER_TURN, hessian.length);
    for (let at = start; at < stop; at++) {
      const magnitude = Math.abs(hessian[at] as number);
      if (!(magnitude < Number.POSITIVE_INFINITY)) {
        const place = `row ${Math.floor(at / columns)}, column ${at % columns}`;
        throw new QuantloomError(
          'InvalidCalibration',
          `The Hessian of ${name} has the value ${hessian[at]} at ${place}. An activation overflowed during calibration: ` +
            'check the calibration text, or keep this module in 16 bit (override with skip).',
          { details: { row: Math.floor(at / columns), column: at % columns } },
        );
      }
      if (magnitude > largest) largest = magnitude;
    }
    await setImmediate();
  }
  const values = new Float64Array(memory, 0, hessian.length);
  const exponent = largest > 0 ? Math.floor(Math.log2(largest)) : 0;
  // In two steps: 2^1074, which the smallest subnormal needs, is not a float64.
  const factor = 2 ** -Math.trunc(exponent / 2);
  const rest = 2 ** (Math.trunc(exponent / 2) - exponent);
  for (let start = 0; start < hessian.length; start += NUMBERS_PER_TURN) {
    const stop = Math.min(start + NUMBERS_PER_TURN, hessian.length);
    for (let at = start; at < stop; at++) values[at] = (hessian[at] as number) * factor * rest;
    await setImmediate();
  }
  return { values, scale: factor * rest };
}

/** Dynamic act-order moves the columns before anything else, so that groups follow the order; static only solves in it. */
async function ordered(
  values: Float64Array,
  dead: Uint8Array,
  columns: number,
  recipe: Factorized,
): Promise<SolvableHessian> {
  const identity = Int32Array.from({ length: columns }, (_, i) => i);
  const shared = { hessian: values, dead, outerOrder: identity, solveOrder: identity, factor: null };
  if (recipe.actOrder === 'none' || !factorizes(recipe)) return shared;
  const diagonal = (column: number) => (dead[column] ? 0 : (values[column * columns + column] as number));
  const falling = identity.slice().sort((a, b) => diagonal(b) - diagonal(a) || a - b);
  if (recipe.actOrder === 'static') return { ...shared, solveOrder: falling };

  const hessian = new Float64Array(new SharedArrayBuffer(values.byteLength));
  const rowsPerTurn = Math.max(1, Math.floor(NUMBERS_PER_TURN / columns));
  for (let i = 0; i < columns; i++) {
    const from = (falling[i] as number) * columns;
    for (let j = 0; j < columns; j++) hessian[i * columns + j] = values[from + (falling[j] as number)] as number;
    if (i % rowsPerTurn === rowsPerTurn - 1) await setImmediate();
  }
  return { ...shared, hessian, dead: dead.map((_, i) => dead[falling[i] as number] as number), outerOrder: falling };
}
