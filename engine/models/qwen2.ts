import { decoderArchitecture } from './decoder-architecture';
import { LLAMA_FIELDS, LLAMA_REFUSED } from './decoder-shape';
import { llamaModules } from './llama-modules';
import { qwenWindow } from './sliding-window';

/** Qwen 1.5, 2 and 2.5 (arXiv 2407.10671): Llama's layers with biases on q, k and v. */
export const qwen2 = decoderArchitecture({
  name: 'qwen2',
  modelClass: 'Qwen2ForCausalLM',
  modelType: 'qwen2',
  ...llamaModules({ bias: { inputs: 'always', output: 'never', mlp: 'never' } }),
  config: {
    ...LLAMA_FIELDS,
    keyValueHeads: { field: 'num_key_value_heads', otherwise: 32 },
    maxPositions: { field: 'max_position_embeddings', otherwise: 32768 },
    refused: LLAMA_REFUSED,
    attention: (config, shape) => qwenWindow(config, shape, 'qwen2'),
  },
});
