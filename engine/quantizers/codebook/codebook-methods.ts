import type { WholeMethod } from '../whole-method';
import { quantizeToCodebook } from './quantize-to-codebook';

const BITS = 4;

/** 4-bit NormalFloat of QLoRA (Dettmers et al. 2023). */
export const nf4: WholeMethod = codebookMethod('nf4');

/** 4-bit floats with blocks of magnitudes. */
export const fp4: WholeMethod = codebookMethod('fp4');

function codebookMethod(name: 'nf4' | 'fp4'): WholeMethod {
  return {
    name,
    grids: ['codebook'],
    needsHessian: false,

    refuse({ bits, groupSize }) {
      if (bits !== BITS) return `${name} has ${BITS} bits, not ${bits}. Leave bits out, or use the method gptq.`;
      // What bitsandbytes' kernels know.
      if (groupSize < 32)
        return `${name} has blocks of 32, 64, 128 or 256 weights, not ${groupSize}. Set recipe.groupSize.`;
      return null;
    },

    quantize: ({ recipe, ...linear }) =>
      quantizeToCodebook({
        ...linear,
        codebook: name,
        blockSize: recipe.groupSize,
        doubleQuant: recipe.doubleQuant ?? true,
      }),
  };
}
