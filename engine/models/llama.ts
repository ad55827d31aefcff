import { unsupported } from './config-fields';
import { decoderArchitecture } from './decoder-architecture';
import { LLAMA_FIELDS, LLAMA_REFUSED } from './decoder-shape';

/** Llama 1 to 3 and what has its layers: RMS norms, rotary embedding, grouped-query attention, gated SiLU, optional biases. */
export const llama = decoderArchitecture({
  name: 'llama',
  modelClass: 'LlamaForCausalLM',
  modelType: 'llama',
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
    output: { role: 'o', module: 'self_attn.o_proj', bias: 'stored' },
  },
  mlp: {
    norm: 'post_attention_layernorm',
    inputs: [
      { role: 'gate', module: 'mlp.gate_proj', bias: 'stored' },
      { role: 'up', module: 'mlp.up_proj', bias: 'stored' },
    ],
    operator: 'gated-silu',
    output: { role: 'down', module: 'mlp.down_proj', bias: 'stored' },
  },
  config: {
    ...LLAMA_FIELDS,
    refused: LLAMA_REFUSED,
    // Llama has no such field; a descendant under its name that has one is none.
    sequenceLimit({ sliding_window: window, use_sliding_window: used }) {
      if (window === undefined || window === null || used === false) return null;
      const found = `sliding-window attention (config.json: sliding_window = ${JSON.stringify(window)})`;
      throw unsupported(found, 'none', 'llama');
    },
  },
  rotatable: true,
});
