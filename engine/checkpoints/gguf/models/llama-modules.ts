/** Modules of Llama and its kin. */
export const LLAMA_MODULES = {
  'model.embed_tokens': 'token_embd',
  'model.layers.{n}.input_layernorm': 'blk.{n}.attn_norm',
  'model.layers.{n}.self_attn.q_proj': 'blk.{n}.attn_q',
  'model.layers.{n}.self_attn.k_proj': 'blk.{n}.attn_k',
  'model.layers.{n}.self_attn.v_proj': 'blk.{n}.attn_v',
  'model.layers.{n}.self_attn.o_proj': 'blk.{n}.attn_output',
  'model.layers.{n}.post_attention_layernorm': 'blk.{n}.ffn_norm',
  'model.layers.{n}.mlp.gate_proj': 'blk.{n}.ffn_gate',
  'model.layers.{n}.mlp.up_proj': 'blk.{n}.ffn_up',
  'model.layers.{n}.mlp.down_proj': 'blk.{n}.ffn_down',
  'model.norm': 'output_norm',
  lm_head: 'output',
} as const;
