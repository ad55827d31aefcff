import type { BlockMethod } from './block-method';

/** llama.cpp's way: scales, minimums and codes of every block by search under squared error, weighted by the mean square of each input. */
export const kquants: BlockMethod = {
  name: 'kquants',
  grids: ['blocks'],
  needsHessian: true,

  refuse({ blockType, importance }) {
    if (!blockType) {
      return 'kquants makes blocks of GGUF, and it is not said of which type. Write a format such as gguf:q4_k_m, or set blockType.';
    }
    if (importance === 'pivots')
      return 'kquants weighs columns by what comes into them. Set importance to diagonal or none.';
    return null;
  },
};
