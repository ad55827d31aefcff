import { decoderArchitecture } from './decoder-architecture';
import { LLAMA_FIELDS, LLAMA_REFUSED } from './decoder-shape';
import { slidingWindow } from './sliding-window';

/** Mistral 7B and its kin (arXiv 2310.06825): Llama's layers without biases, and in the first release attention in a sliding window. */
export const mistral = decoderArchitecture({
  name: 'mistral',
  modelClass: 'MistralForCausalLM',
  modelType: 'mistral',
  embedding: 'model.embed_tokens',
  positions: null,
  layers: 'model.layers',
  finalNorm: 'model.norm',
  head: 'lm_head',
  norm: 'rms-norm',
  attention: {
    norm: 'input_layernorm',
    inputs: [
      { role: 'q', module: 'self_attn.q_proj', bias: 'never' },
      { role: 'k', module: 'self_attn.k_proj', bias: 'never' },
      { role: 'v', module: 'self_attn.v_proj', bias: 'never' },
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
    keyValueHeads: { field: 'num_key_value_heads', otherwise: 8 },
    maxPositions: { field: 'max_position_embeddings', otherwise: 131072 },
    refused: LLAMA_REFUSED,
    // A field that is missing has transformers' default; null turns it off.
    sequenceLimit: (config) => slidingWindow(config.sliding_window === undefined ? 4096 : config.sliding_window),
  },
  rotatable: true,
});
