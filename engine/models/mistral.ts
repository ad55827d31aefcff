import { decoderArchitecture } from './decoder-architecture';
import { LLAMA_FIELDS, LLAMA_REFUSED } from './decoder-shape';
import { llamaModules } from './llama-modules';
import { slidingWindow, windowEverywhere } from './sliding-window';

/** Mistral 7B and its kin (arXiv 2310.06825): Llama's layers without biases, and in the first release attention in a sliding window. */
export const mistral = decoderArchitecture({
  name: 'mistral',
  modelClass: 'MistralForCausalLM',
  modelType: 'mistral',
  ...llamaModules({ bias: { inputs: 'never', output: 'never', mlp: 'never' } }),
  config: {
    ...LLAMA_FIELDS,
    keyValueHeads: { field: 'num_key_value_heads', otherwise: 8 },
    maxPositions: { field: 'max_position_embeddings', otherwise: 131072 },
    refused: LLAMA_REFUSED,
    attention: (config, shape) => windowEverywhere(slidingWindow(config, 4096), shape),
  },
});
