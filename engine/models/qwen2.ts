import { decoderArchitecture } from './decoder-architecture';
import { LLAMA_FIELDS, LLAMA_REFUSED } from './decoder-shape';
import { qwenWindow } from './sliding-window';

/** Qwen 1.5, 2 and 2.5 (arXiv 2407.10671): Llama's layers with biases on q, k and v. */
export const qwen2 = decoderArchitecture({
  name: 'qwen2',
  modelClass: 'Qwen2ForCausalLM',
  modelType: 'qwen2',
  embedding: 'model.embed_tokens',
  positions: null,
  layers: 'model.layers',
  finalNorm: 'model.norm',
  head: 'lm_head',
  norm: 'rms-norm',
  attention: {
    norm: 'input_layernorm',
    inputs: [
      { role: 'q', module: 'self_attn.q_proj', bias: 'always' },
      { role: 'k', module: 'self_attn.k_proj', bias: 'always' },
      { role: 'v', module: 'self_attn.v_proj', bias: 'always' },
    ],
    operator: 'attention',
    output: { role: 'o', module: 'self_attn.o_proj', bias: 'never' },
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
    maxPositions: { field: 'max_position_embeddings', otherwise: 32768 },
    refused: LLAMA_REFUSED,
    sequenceLimit: (config, shape) => qwenWindow(config, shape, 'qwen2'),
  },
  rotatable: true,
});
