import type { NativeAddon, NativeCancellation, NativeLinear } from '../kernels';
import { codeGridOf } from './code-grid-of';
import { type FactorizationTask, factorize } from './factorize';
import { factorizes } from './methods';
import type { QuantizedRows, RowBlock, RowFault, SharedProblem } from './row-block';
import type { SolverPool } from './solver-pool';

/**
 * Solves with the native kernels: threads of their own, one call for all rows of a linear.
 *
 * @param threads 0 counts as 1: the work never runs on the calling thread.
 * @param typescript its threads do what is TypeScript in part.
 */
export function nativeSolver(addon: NativeAddon, threads: number, typescript: () => SolverPool): SolverPool {
  const own = Math.max(1, threads);
  return {
    lanes: 1,
    rowsPerBlock: Number.POSITIVE_INFINITY,
    factorize: (task: FactorizationTask, signal) =>
      withCancellation(addon, signal, (cancellation) =>
        factorize(task, (damping, floor) => addon.inverseFactor({ ...task, damping, floor }, own, cancellation)),
      ),
    quantizeRows: (shared, block, signal): Promise<QuantizedRows | RowFault> =>
      withCancellation(addon, signal, (cancellation) =>
        addon.quantizeLinear(nativeLinear(shared, block), own, cancellation),
      ),
    quantizeBlockRows: (task, signal) => typescript().quantizeBlockRows({ ...task, kernels: 'native' }, signal),
    quantizeMinifloatRows: (task, signal) => typescript().quantizeMinifloatRows({ ...task, kernels: 'native' }, signal),
    quantizeTensorRows: (task, signal) => typescript().quantizeTensorRows({ ...task, kernels: 'native' }, signal),
    mismatchTarget: async ({ squares, ...task }, signal) => {
      signal?.throwIfAborted();
      return addon.mismatchTarget({ ...task, ...(squares && { squares }) }, own);
    },
  };
}

/** An abort ends the work between two blocks, with the signal's reason. */
async function withCancellation<T>(
  addon: NativeAddon,
  signal: AbortSignal | undefined,
  work: (cancellation: NativeCancellation) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const cancellation = new addon.Cancellation();
  const cancel = () => cancellation.cancel();
  signal?.addEventListener('abort', cancel);
  try {
    return await work(cancellation);
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}

function nativeLinear(shared: SharedProblem, { weight, rows }: RowBlock): NativeLinear {
  const { recipe, columns, groupSize, solvable, roundToNearest } = shared;
  const rounds = roundToNearest || !factorizes(recipe);
  const { factor, ...rest } = solvable ?? { factor: null };
  return {
    weight,
    rows,
    columns,
    groupSize,
    ...codeGridOf(shared),
    method: rounds ? 'rtn' : recipe.actOrder === 'static' ? 'gptq-static' : 'gptq',
    search: recipe.scales === 'search' || roundToNearest,
    neighbours: recipe.zeros === 'neighbours',
    pivots: recipe.importance === 'pivots' && !rounds,
    refinements: rounds ? 0 : recipe.refinements,
    learnedRounding: rounds ? 0 : (recipe.learnedRounding ?? 0),
    refinementDamping: rounds ? 0 : (recipe.refinementDamping ?? 0),
    restarts: rounds ? 0 : recipe.restarts,
    groupRounds: rounds ? 0 : recipe.groupRounds,
    ...(solvable && { solvable: { ...(rest as typeof solvable), factor: factor ?? undefined } }),
  };
}
