import type { GridDescentProblem } from './descend-on-grid';
import type { ScaleProblem } from './find-scale';
import type { GptqProblem } from './gptq-columns';
import type { GridColumnsProblem } from './gptq-on-grid';
import type { RoundingLearningProblem } from './learn-rounding';
import type { RefinementProblem } from './refine';
import type { RoundingProblem } from './round-to-nearest';

/**
 * The hot inner functions of the solver. Each is synchronous, takes flat row-major arrays, and works on some rows of a linear (or on one
 * Hessian), so that it needs to know nothing of threads, recipes or files. They run for seconds: never call them on the
 * event loop, see solverPool.
 *
 * `referenceKernels` says what they do. The native ones (native/, see NativeAddon) do the work of all of them for a whole linear in
 * one call, and must agree with it.
 */
export interface Kernels {
  /** For reports: `typescript`. */
  readonly name: string;
  /** Uᵀ of H⁻¹ = Uᵀ U into `factor`; destroys `hessian`; false when it is not positive definite. */
  inverseFactor(hessian: Float64Array, factor: Float64Array, n: number): boolean;
  /** Scale and zero point of every group of every row. */
  findScales(problem: ScaleProblem): void;
  /** Codes for given scales, each weight for itself. */
  roundToNearest(problem: RoundingProblem): void;
  /** Codes with error compensation. */
  gptqColumns(problem: GptqProblem): void;
  /** Codes by descent on what is added before rounding. */
  learnRounding(problem: RoundingLearningProblem): void;
  /** Closed-form scales and coordinate descent on codes. */
  refine(problem: RefinementProblem): void;
  /** Codes with error compensation, on a grid of real numbers that is given. */
  gptqOnGrid(problem: GridColumnsProblem): void;
  /** Coordinate descent on codes of such a grid. */
  descendOnGrid(problem: GridDescentProblem): void;
  /** `D H Dᵀ` per row. */
  outputEnergy(d: Float64Array, hessian: Float64Array, rows: number, columns: number): Float64Array;
}
