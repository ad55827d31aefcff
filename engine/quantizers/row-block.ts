import type { Kernels } from '../kernels';
import type { Recipe } from '../spec';
import type { GridKind } from './quantized-linear';

/**
 * Rows of a linear that TypeScript quantizes together. Fixed, so that neither the number of threads nor of machines changes a bit; rows do
 * not depend on each other, so the size of a block changes none either.
 */
export const ROWS_PER_BLOCK = 48;

/** What a Hessian and a recipe give to every row. Large arrays lie in shared memory, or are made by native kernels for themselves. */
export interface SharedProblem {
  readonly recipe: Recipe;
  readonly columns: number;
  /** Resolved: -1 has become `columns`. */
  readonly groupSize: number;
  readonly minimumZero: 0 | 1;
  /** Solve by rounding although the recipe's method factorizes: the last rung of the ladder. */
  readonly roundToNearest: boolean;
  readonly solvable: SolvableHessian | null;
}

/**
 * A Hessian in the order of columns in which groups are contiguous ("outer order"), ready to be solved with.
 */
export interface SolvableHessian {
  /** `[columns, columns]`, symmetric, undamped, scaled by a power of two so that its largest entry is about 1. */
  readonly hessian: Float64Array;
  /** `[columns]`: the column of the weight at each place of the outer order. */
  readonly outerOrder: Int32Array;
  /** `[columns]`: the place in the outer order of each column in the order of solving. */
  readonly solveOrder: Int32Array;
  /** `[columns]`, in the outer order: 1 where the input was zero in all of the calibration. */
  readonly dead: Uint8Array;
  /** `[columns, columns]`, in the order of solving: Uᵀ (see inverseFactor). null when not needed or not to be had. */
  readonly factor: Float64Array | null;
}

/** Some rows to quantize. */
export interface RowBlock {
  /** `[rows, columns]`. */
  readonly weight: Float32Array;
  readonly rows: number;
}

export interface QuantizedRows {
  /** `[rows, columns]`, in the order of the source. */
  readonly codes: Uint8Array;
  /** `[rows, groups]`. */
  readonly scales: Float32Array;
  readonly zeros: Uint8Array;
  /**
   * All `[rows]`. `ΔW H ΔWᵀ` before anything improves on the method's codes, after learned rounding (where asked for), after the
   * refinements, after the restarts and in the end, and `W H Wᵀ`; zeros without a Hessian. H is undamped in all of them.
   */
  readonly errorsBefore: Float64Array;
  readonly errorsLearned?: Float64Array;
  readonly errorsRefined: Float64Array;
  readonly errorsRestarted: Float64Array;
  readonly errors: Float64Array;
  readonly energies: Float64Array;
  /** `‖ΔW‖²` and `‖W‖²`. */
  readonly weightErrors: Float64Array;
  readonly weightEnergies: Float64Array;
}

/** Why some rows cannot be quantized. Plain data, since it crosses threads. */
export interface RowFault {
  readonly fault: 'non-finite-weight' | 'scale-too-large';
  /** Within the block. */
  readonly row: number;
  /** Column of the weight, or the group of the scale. */
  readonly at: number;
}

/** What a method works on: one block of rows in the outer order, and where the result goes. */
export interface MethodProblem {
  readonly kernels: Kernels;
  readonly shared: SharedProblem;
  readonly rows: number;
  /** `[rows, columns]`, dead columns zero. Not to be changed. */
  readonly weights: Float64Array;
  /** `[columns]`, non-negative: diagonal of the Hessian, or ones. */
  readonly importance: Float64Array;
  /** Written. */
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly zeros: Uint8Array;
}

/** A method that solves rows for themselves: threads and workers share a linear. Here its grid is affine; blocks are solved elsewhere (blocks/). */
export interface RowMethod {
  readonly name: Recipe['method'];
  /** The kinds of grids that it quantizes to; the first where a recipe does not say it. */
  readonly grids: readonly [GridKind, ...GridKind[]];
  /** Without a Hessian it cannot run. */
  readonly needsHessian: boolean;
  /** Why a recipe cannot be carried out, and what to do; null when it can. Absent: it can. */
  refuse?(recipe: Recipe): string | null;
  /** It solves with a factorized Hessian, and what it found may be improved on (improve.ts). Absent: it rounds. */
  readonly factorizes?: true;
  /** Chooses scales, zero points and codes of some rows. Each row's result depends on that row alone. */
  quantizeRows(problem: MethodProblem): void;
}
