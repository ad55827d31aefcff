import type { Recipe } from '../spec';
import type { CodebookLinear } from './grids/codebook-grid';
import type { GridKind, QuantizedLinear } from './quantized-linear';

/** What a method that takes linears whole works on. */
export interface WholeLinear {
  /** `[rows, columns]`, finite. */
  readonly weight: Float32Array;
  readonly rows: number;
  readonly columns: number;
  readonly recipe: Recipe;
  /** What the source stores the weight in. */
  readonly dtype: CodebookLinear['dtype'];
  /** Module name, for messages. */
  readonly name: string;
  readonly signal?: AbortSignal;
}

/** A method that needs no calibration and takes a linear whole. */
export interface WholeMethod {
  readonly name: Recipe['method'];
  /** The kinds of grids that it quantizes to; the first where a recipe does not say it. */
  readonly grids: readonly [GridKind, ...GridKind[]];
  readonly needsHessian: false;
  /** Why a recipe cannot be carried out, and what to do; null when it can. */
  refuse(recipe: Recipe): string | null;
  /** Lets the event loop turn now and then. @throws QuantloomError UnsupportedInput. The signal's reason when aborted. */
  quantize(linear: WholeLinear): Promise<QuantizedLinear>;
}
