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

/** Norms of each head of queries and keys. */
export const HEAD_NORMS = {
  'model.layers.{n}.self_attn.q_norm': 'blk.{n}.attn_q_norm',
  'model.layers.{n}.self_attn.k_norm': 'blk.{n}.attn_k_norm',
} as const;

/** Norms in front of both branches and behind them, as Gemma calls them. */
export const BRANCH_NORMS = {
  'model.layers.{n}.post_attention_layernorm': 'blk.{n}.post_attention_norm',
  'model.layers.{n}.pre_feedforward_layernorm': 'blk.{n}.ffn_norm',
  'model.layers.{n}.post_feedforward_layernorm': 'blk.{n}.post_ffw_norm',
} as const;
