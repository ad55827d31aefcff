import type { RowMethod } from './row-block';
import { rtn } from './rtn';

/**
 * Round-to-nearest with clipped ranges that are searched under the error of the output, by the Hessian's diagonal: what AWQ (Lin et al. 2023,
 * arXiv 2306.00978) does once its scales are in the weights (engine/scaling).
 */
export const awq: RowMethod = { ...rtn, name: 'awq', grids: ['affine'], needsHessian: true };
