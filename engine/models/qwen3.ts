import { decoderArchitecture } from './decoder-architecture';
import { LLAMA_FIELDS, LLAMA_REFUSED } from './decoder-shape';
import { llamaModules } from './llama-modules';
import { qwenWindow } from './sliding-window';

/** Qwen3, dense (arXiv 2505.09388): Llama's layers with norms on the heads of queries and keys. */
export const qwen3 = decoderArchitecture({
  name: 'qwen3',
  modelClass: 'Qwen3ForCausalLM',
  modelType: 'qwen3',
  ...llamaModules({
    bias: { inputs: 'stored', output: 'stored', mlp: 'never' },
    innerNorms: { 'q-norm': 'self_attn.q_norm', 'k-norm': 'self_attn.k_norm' },
  }),
  config: {
    ...LLAMA_FIELDS,
    keyValueHeads: { field: 'num_key_value_heads', otherwise: 32 },
    headSize: { field: 'head_dim', otherwise: 128 },
    maxPositions: { field: 'max_position_embeddings', otherwise: 32768 },
    refused: LLAMA_REFUSED,
    attention: (config, shape) => qwenWindow(config, shape, 'qwen3'),
  },
});
