import type { Recipe } from '../../spec';
import type { GridKind } from '../quantized-linear';

/** A method that makes blocks of GGUF and nothing else. Its work is done by `quantizeToBlocks`, as GPTQ's on such blocks. */
export interface BlockMethod {
  readonly name: Recipe['method'];
  readonly grids: readonly [GridKind, ...GridKind[]];
  readonly needsHessian: boolean;
  /** Why a recipe cannot be carried out, and what to do; null when it can. */
  refuse(recipe: Recipe): string | null;
}
