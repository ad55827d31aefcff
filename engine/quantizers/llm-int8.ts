import { quantizeInt8Rows } from './quantize-int8-rows';
import type { WholeMethod } from './whole-method';

const BITS = 8;

/** LLM.int8 (Dettmers et al. 2022): row-wise int8; outliers of the input are split off by the runtime. */
export const llmInt8: WholeMethod = {
  name: 'llm-int8',
  grids: ['int8-rows'],
  needsHessian: false,

  refuse({ bits, groupSize }) {
    if (bits !== BITS) return `llm-int8 has ${BITS} bits, not ${bits}. Leave bits out, or use the method gptq.`;
    if (groupSize !== -1)
      return `llm-int8 has one scale per row, not per ${groupSize} columns. Leave groupSize out, or set it to -1.`;
    return null;
  },

  quantize: (linear) => quantizeInt8Rows(linear),
};
