import { decoderArchitecture } from './decoder-architecture';
import { LLAMA_FIELDS, LLAMA_REFUSED } from './decoder-shape';
import { qwenWindow } from './sliding-window';

/** Qwen3, dense (arXiv 2505.09388): Llama's layers with norms on the heads of queries and keys. */
export const qwen3 = decoderArchitecture({
  name: 'qwen3',
  modelClass: 'Qwen3ForCausalLM',
  modelType: 'qwen3',
  embedding: 'model.embed_tokens',
  positions: null,
  layers: 'model.layers',
  finalNorm: 'model.norm',
  head: 'lm_head',
  norm: 'rms-norm',
  attention: {
    norm: 'input_layernorm',
    inputs: [
      { role: 'q', module: 'self_attn.q_proj', bias: 'stored' },
      { role: 'k', module: 'self_attn.k_proj', bias: 'stored' },
      { role: 'v', module: 'self_attn.v_proj', bias: 'stored' },
    ],
    operator: 'attention',
    innerNorms: { 'q-norm': 'self_attn.q_norm', 'k-norm': 'self_attn.k_norm' },
    output: { role: 'o', module: 'self_attn.o_proj', bias: 'stored' },
  },
  mlp: {
    norm: 'post_attention_layernorm',
    inputs: [
      { role: 'gate', module: 'mlp.gate_proj', bias: 'never' },
      { role: 'up', module: 'mlp.up_proj', bias: 'never' },
    ],
    operator: 'gated-silu',
    output: { role: 'down', module: 'mlp.down_proj', bias: 'never' },
  },
  config: {
    ...LLAMA_FIELDS,
    keyValueHeads: { field: 'num_key_value_heads', otherwise: 32 },
    headSize: { field: 'head_dim', otherwise: 128 },
    maxPositions: { field: 'max_position_embeddings', otherwise: 32768 },
    refused: LLAMA_REFUSED,
    sequenceLimit: (config, shape) => qwenWindow(config, shape, 'qwen3'),
  },
  rotatable: true,
});
