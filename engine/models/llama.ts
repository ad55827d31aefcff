import { unsupported } from './config-fields';
import { decoderArchitecture } from './decoder-architecture';
import { LLAMA_FIELDS, LLAMA_REFUSED } from './decoder-shape';
import { llamaModules } from './llama-modules';

/** Llama 1 to 3 and what has its layers: RMS norms, rotary embedding, grouped-query attention, gated SiLU, optional biases. */
export const llama = decoderArchitecture({
  name: 'llama',
  modelClass: 'LlamaForCausalLM',
  modelType: 'llama',
  ...llamaModules({ bias: { inputs: 'stored', output: 'stored', mlp: 'stored' } }),
  config: {
    ...LLAMA_FIELDS,
    refused: LLAMA_REFUSED,
    // Llama has no such field; a descendant under its name that has one is none.
    attention({ sliding_window: window, use_sliding_window: used }) {
      if (window === undefined || window === null || used === false) return null;
      const found = `sliding-window attention (config.json: sliding_window = ${JSON.stringify(window)})`;
      throw unsupported(found, 'none', 'llama');
    },
  },
});
