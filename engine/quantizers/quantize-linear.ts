import type { KernelChoice } from '../kernels';
import { type DampingRung, QuantloomError, type Recipe } from '../spec';
import { quantizeToBlocks } from './blocks/quantize-to-blocks';
import { dampingForTokens } from './damping-for-tokens';
import type { AffineLinear } from './grids/affine-grid';
import { factorizes, gridKindOf, METHODS, needsHessian } from './methods';
import { inputScaleOf } from './minifloat/input-scale';
import { quantizeToMinifloat } from './minifloat/quantize-to-minifloat';
import { type Mismatch, mismatchTarget, type TokenSum } from './mismatch-target';
import { quantizePerTensor } from './per-tensor/quantize-per-tensor';
import { type PreparedHessian, prepareHessian } from './prepare-hessian';
import { quantizeWhole } from './quantize-whole';
import type { QuantizationResult } from './quantized-linear';
import type { QuantizedRows, RowFault, SharedProblem } from './row-block';
import { type SolverPool, solverPool } from './solver-pool';
import { resultOfStored } from './stored';

export interface LinearToQuantize {
  /** `[rows, columns]`, rows = output features. */
  readonly weight: Float32Array;
  readonly rows: number;
  readonly columns: number;
  /**
   * `[columns, columns]`, mean of x xᵀ per token; or one that is prepared, when several linears share an input. null: none, only for
   * methods that need none.
   */
  readonly hessian: Float64Array | Float32Array | PreparedHessian | null;
  /** Of an expert's linear: tokens that the Hessian is the mean over. With fewer than columns it is damped more. Absent: enough. */
  readonly tokens?: number;
  readonly recipe: Recipe;
  /** `[columns]`, mean squares of the input features: what weighs columns where the recipe's importance is `file`. */
  readonly importance?: Float32Array;
  /**
   * Of all rows. With a `mismatch` in the recipe and a Hessian, the target of that (mismatchTarget) takes the weight's place, in the
   * report's errors too. Default: none.
   */
  readonly mismatch?: Mismatch | null;
  /** The largest magnitude of the input on the calibration set, where the recipe's activations need it. */
  readonly inputMagnitude?: number;
  /** The codes that the source has: what the method `stored` gives back. */
  readonly stored?: AffineLinear;
  /** Smallest zero point that the file format can hold (asymmetric): GPTQ v1 cannot store 0. */
  readonly minimumZero: 0 | 1;
  /** What the source stores the weight in: readers of some grids round to it. Default F32. */
  readonly dtype?: 'F32' | 'F16' | 'BF16';
  /** Module name, for messages. */
  readonly name?: string;
  /** Threads that solve; default 2. Calls that ask for as many share them. The result does not depend on it. */
  readonly threads?: number;
  /** Default: what the process prefers (preferKernels); native kernels where they can be loaded. */
  readonly kernels?: KernelChoice;
  readonly signal?: AbortSignal;
}

/**
 * Quantizes one linear, off the event loop, in blocks of rows: the bytes depend on the arguments and the kernels alone.
 *
 * A Hessian that cannot be factorized is damped more, then lifted, then left: the report's `rung` says what happened.
 *
 * @throws QuantloomError NonFiniteWeights naming row and column; InvalidCalibration when the Hessian is missing, of the wrong shape or
 *   not finite; UnsupportedInput when a scale exceeds float16. The signal's reason when aborted.
 */
export async function quantizeLinear(options: LinearToQuantize): Promise<QuantizationResult> {
  const { recipe, rows, columns, weight } = options;
  const method = METHODS[recipe.method];
  if ('takesStored' in method) return resultOfStored(options);
  if ('quantize' in method) return quantizeWhole(method, options);
  const kind = gridKindOf(recipe);
  if (kind === 'blocks' || kind === 'minifloat' || recipe.perTensor) {
    const name = options.name ?? 'the linear';
    const pool = solverPool(options.threads ?? 2, options.kernels);
    checkSize(options, name);
    const hessian = needsHessian({ recipe }) ? await preparedHessianOf(options, name) : null;
    const target = hessian ? await targetOf(options, { first: 0, count: rows }, hessian, pool) : weight;
    const { threads = 2, signal } = options;
    const importance = recipe.importance === 'file' ? importanceOf(options, name) : null;
    const linear = { weight: target, original: weight, rows, columns, recipe, hessian, importance };
    const work = { ...linear, name, threads, signal };
    if (kind === 'blocks') return quantizeToBlocks(work, pool);
    if (recipe.perTensor) return quantizePerTensor({ ...work, minimumZero: options.minimumZero }, pool);
    return quantizeToMinifloat({ ...work, inputScale: inputScaleOf(recipe, options.inputMagnitude, name) }, pool);
  }
  return joinRows(options, [await quantizeRowRange(options, { first: 0, count: options.rows })]);
}

/** Some rows of a linear, solved: what `joinRows` makes a linear of. Plain data. */
export interface SolvedRows {
  /** In the order of the rows. */
  readonly blocks: readonly QuantizedRows[];
  /** `[columns]`. */
  readonly groupOf: Int32Array;
  /** Whether the recipe's method had a factorized Hessian. */
  readonly factorized: boolean;
  readonly rung: DampingRung;
  readonly damping: number;
  /** See LinearReport. */
  readonly condition?: number;
  /** As they were given. */
  readonly tokens?: number;
  readonly deadColumns: number;
}

/**
 * Quantizes some rows of a linear. Rows do not depend on one another, so it changes no bit into which ranges a linear is split; each
 * range factorizes the Hessian for itself.
 *
 * @throws as quantizeLinear.
 */
export async function quantizeRowRange(
  options: LinearToQuantize,
  range: { readonly first: number; readonly count: number },
): Promise<SolvedRows> {
  const { weight, columns, recipe: asked, minimumZero, tokens, signal } = options;
  const damping = dampingForTokens(asked.damping, columns, tokens);
  const recipe = { ...asked, damping };
  const pool = solverPool(options.threads ?? 2, options.kernels);
  const name = options.name ?? 'the linear';
  checkSize(options, name);
  signal?.throwIfAborted();
  const prepared = await preparedHessianOf(options, name);
  const solvable = (await prepared?.solvable(recipe, pool, signal)) ?? null;

  const target = prepared ? await targetOf(options, range, prepared, pool) : weight;

  const groupSize = recipe.groupSize === -1 ? columns : recipe.groupSize;
  const problem = solvable?.problem ?? null;
  const solves = factorizes(recipe);
  const roundToNearest = solves && !problem?.factor;
  const shared: SharedProblem = { recipe, columns, groupSize, minimumZero, roundToNearest, solvable: problem };
  return {
    blocks: await quantizeBlocks({ ...options, weight: target }, range, shared, pool, name),
    groupOf: groupOf(columns, groupSize, problem?.outerOrder),
    factorized: solves && Boolean(problem?.factor),
    rung: rungOf(solvable?.rung ?? (solves ? 'round-to-nearest' : 'not-needed'), damping > asked.damping),
    damping: solvable?.damping ?? 0,
    ...(solvable?.condition !== undefined && { condition: solvable.condition }),
    ...(tokens !== undefined && { tokens }),
    deadColumns: prepared?.deadColumns ?? 0,
  };
}

function rungOf(rung: DampingRung, dampedForTokens: boolean): DampingRung {
  return rung === 'as-asked' && dampedForTokens ? 'more-damping' : rung;
}

/** Factorizes a Hessian as `recipe` asks, so that linears that come later find it done. @throws as quantizeLinear. */
export async function factorizeAhead(
  hessian: PreparedHessian,
  { recipe, threads, kernels, signal }: Pick<LinearToQuantize, 'recipe' | 'threads' | 'kernels' | 'signal'>,
): Promise<void> {
  await hessian.solvable(recipe, solverPool(threads ?? 2, kernels), signal);
}

/** Puts the rows of a linear together. @param parts in the order of their rows, all rows. */
export function joinRows(
  { rows, columns, recipe }: Pick<LinearToQuantize, 'rows' | 'columns' | 'recipe'>,
  parts: readonly SolvedRows[],
): QuantizationResult<AffineLinear> {
  const [{ groupOf: groups }] = parts as readonly [SolvedRows];
  const groupSize = recipe.groupSize === -1 ? columns : recipe.groupSize;
  const perRow = Math.ceil(columns / groupSize);
  const blocks = parts.flatMap((part) => part.blocks);
  const form = {
    kind: 'affine' as const,
    rows,
    columns,
    bits: recipe.bits,
    groupSize,
    symmetric: recipe.symmetric,
    groupOf: groups,
  };
  const only = blocks.length === 1 ? blocks[0] : undefined;
  if (only?.errors.length === rows) {
    const { codes, scales, zeros } = only;
    return { linear: { ...form, codes, scales, zeros }, report: reportOf({ rows, columns, recipe }, parts) };
  }
  const linear = {
    ...form,
    codes: new Uint8Array(rows * columns),
    scales: new Float32Array(rows * perRow),
    zeros: new Uint8Array(rows * perRow),
  };
  let first = 0;
  for (const block of blocks) {
    linear.codes.set(block.codes, first * columns);
    linear.scales.set(block.scales, first * perRow);
    linear.zeros.set(block.zeros, first * perRow);
    first += block.errors.length;
  }
  if (first !== rows) throw new RangeError(`${first} rows were solved; the linear has ${rows}`);
  return { linear, report: reportOf({ rows, columns, recipe }, parts) };
}

function checkSize({ weight, rows, columns }: LinearToQuantize, name: string): void {
  if (weight.length !== rows * columns) {
    throw new RangeError(`${name}: ${weight.length} weights, expected ${rows} x ${columns}`);
  }
}

/** @throws QuantloomError InvalidCalibration when it is missing, or of another width. */
function importanceOf({ importance, columns }: LinearToQuantize, name: string): Float32Array {
  if (importance?.length === columns) return importance;
  throw new QuantloomError(
    'InvalidCalibration',
    `The importance of ${name} has ${importance?.length ?? 'no'} values for ${columns} input features.`,
  );
}

async function preparedHessianOf(options: LinearToQuantize, name: string): Promise<PreparedHessian | null> {
  const { hessian, columns, recipe } = options;
  if (!hessian) {
    if (!METHODS[recipe.method].needsHessian) return null;
    throw new QuantloomError(
      'InvalidCalibration',
      `The method ${recipe.method} needs the Hessian of ${name}, and there is none. Calibrate, or use the method rtn.`,
    );
  }
  const prepared = 'solvable' in hessian ? hessian : await prepareHessian(hessian, { name });
  if (prepared.columns !== columns) {
    throw new QuantloomError(
      'InvalidCalibration',
      `The Hessian has ${prepared.columns} columns, but ${name} has ${columns} input features.`,
    );
  }
  return prepared;
}

/** The weight with the rows of `range` replaced by their targets. */
async function targetOf(
  { weight, rows, columns, recipe, mismatch = null, signal }: LinearToQuantize,
  { first, count }: { readonly first: number; readonly count: number },
  hessian: PreparedHessian,
  pool: SolverPool,
): Promise<Float32Array> {
  if (mismatch === null || !recipe.mismatch) return weight;
  const [begin, end] = [first * columns, (first + count) * columns];
  const rowsOf = ({ sum, tokens }: TokenSum) => ({ sum: count === rows ? sum : sum.slice(begin, end), tokens });
  const [one, other] = mismatch.missing;
  const missing = [rowsOf(one), rowsOf(other)] as const;
  const part = { weight: weight.slice(begin, end), mismatch: { ...mismatch, missing }, rows: count };
  const target = await mismatchTarget({ ...part, hessian, recipe }, pool, signal);
  // A weight that is not finite spoils its whole row; it is refused by its own place.
  for (let start = 0; start < target.length; start += columns) {
    if (!Number.isFinite(target[start])) target.set(part.weight.subarray(start, start + columns), start);
  }
  if (count === rows) return target;
  const whole = weight.slice();
  whole.set(target, first * columns);
  return whole;
}

/** As many blocks at a time as the pool has lanes, so that weights are copied only when their turn comes. */
async function quantizeBlocks(
  { weight, columns, signal }: LinearToQuantize,
  range: { readonly first: number; readonly count: number },
  shared: SharedProblem,
  pool: SolverPool,
  name: string,
): Promise<QuantizedRows[]> {
  const rowsPerBlock = Math.max(1, Math.min(range.count, pool.rowsPerBlock));
  const count = Math.ceil(range.count / rowsPerBlock);
  const blocks = new Array<QuantizedRows>(count);
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const index = next++;
      const first = range.first + index * rowsPerBlock;
      const size = Math.min(rowsPerBlock, range.first + range.count - first);
      const part = size * columns === weight.length ? weight : weight.slice(first * columns, (first + size) * columns);
      const result = await pool.quantizeRows(shared, { weight: part, rows: size }, signal);
      if ('fault' in result) {
        next = count;
        throw faultError(result, first, name, part[result.row * columns + result.at]);
      }
      blocks[index] = result;
    }
  };
  await Promise.all(Array.from({ length: pool.lanes }, lane));
  return blocks;
}

function faultError(fault: RowFault, firstRow: number, name: string, value: number | undefined): QuantloomError {
  const row = firstRow + fault.row;
  const details = { row, at: fault.at };
  if (fault.fault === 'non-finite-weight') {
    return new QuantloomError(
      'NonFiniteWeights',
      `The weight of ${name} is ${value} at row ${row}, column ${fault.at}. Check the source model.`,
      { details },
    );
  }
  return new QuantloomError(
    'UnsupportedInput',
    `The weights of ${name}, row ${row}, group ${fault.at}, need a scale above 65504, the largest float16. ` +
      'Keep this module in 16 bit (override with skip).',
    { details },
  );
}

function groupOf(columns: number, groupSize: number, outerOrder?: Int32Array): Int32Array {
  const groups = new Int32Array(columns);
  for (let i = 0; i < columns; i++) groups[outerOrder ? (outerOrder[i] as number) : i] = Math.floor(i / groupSize);
  return groups;
}

const NO_ROWS = new Float64Array();

function reportOf(
  { rows, columns, recipe }: Pick<LinearToQuantize, 'rows' | 'columns' | 'recipe'>,
  parts: readonly SolvedRows[],
): QuantizationResult['report'] {
  const blocks = parts.flatMap((part) => part.blocks);
  const [{ factorized, rung, damping, condition, tokens, deadColumns }] = parts as readonly [SolvedRows];
  type Sums =
    | 'errors'
    | 'errorsBefore'
    | 'errorsLearned'
    | 'errorsRefined'
    | 'errorsRestarted'
    | 'energies'
    | 'weightErrors'
    | 'weightEnergies';
  const total = (sums: Sums) => blocks.reduce((sum, block) => (block[sums] ?? NO_ROWS).reduce((a, b) => a + b, sum), 0);
  const energy = total('energies');
  // Relative to nothing an error means nothing; an indefinite Hessian can make the energy negative.
  const relative = (sums: Sums) => (energy > 0 ? total(sums) / energy : null);
  const weightEnergy = total('weightEnergies');
  return {
    rows,
    columns,
    relativeError: relative('errors'),
    relativeWeightError: weightEnergy > 0 ? total('weightErrors') / weightEnergy : 0,
    relativeErrorBeforeRefinement: relative('errorsBefore'),
    ...(factorized && energy > 0
      ? {
          relativeErrorAfter: {
            ...((recipe.learnedRounding ?? 0) > 0 && { learnedRounding: total('errorsLearned') / energy }),
            ...(recipe.refinements > 0 && { refinements: total('errorsRefined') / energy }),
            ...(recipe.restarts > 0 && { restarts: total('errorsRestarted') / energy }),
            ...(recipe.groupRounds > 0 && { groupRounds: total('errors') / energy }),
          },
        }
      : {}),
    rung,
    damping,
    ...(condition !== undefined && { condition }),
    ...(tokens !== undefined && { tokens }),
    deadColumns,
  };
}
