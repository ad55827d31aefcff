/** Modules of all architectures and what llama.cpp calls their weights; `{n}` stands for the layer, `{e}` for the expert. */
const PATTERNS: readonly (readonly [source: string, gguf: string])[] = [
  ['model.layers.{n}.self_attn.q_proj', 'attn_q'],
  ['model.layers.{n}.self_attn.k_proj', 'attn_k'],
  ['model.layers.{n}.self_attn.v_proj', 'attn_v'],
  ['model.layers.{n}.self_attn.qkv_proj', 'attn_qkv'],
  ['model.layers.{n}.self_attn.o_proj', 'attn_output'],
  ['model.layers.{n}.mlp.gate_proj', 'ffn_gate'],
  ['model.layers.{n}.mlp.up_proj', 'ffn_up'],
  ['model.layers.{n}.mlp.gate_up_proj', 'ffn_up'],
  ['model.layers.{n}.mlp.down_proj', 'ffn_down'],
  ['transformer.h.{n}.attn.c_attn', 'attn_qkv'],
  ['transformer.h.{n}.attn.c_proj', 'attn_output'],
  ['transformer.h.{n}.mlp.c_fc', 'ffn_up'],
  ['transformer.h.{n}.mlp.c_proj', 'ffn_down'],
  ['model.layers.{n}.block_sparse_moe.experts.{e}.w1', 'ffn_gate_exps'],
  ['model.layers.{n}.block_sparse_moe.experts.{e}.w2', 'ffn_down_exps'],
  ['model.layers.{n}.block_sparse_moe.experts.{e}.w3', 'ffn_up_exps'],
  ['model.layers.{n}.mlp.experts.{e}.gate_proj', 'ffn_gate_exps'],
  ['model.layers.{n}.mlp.experts.{e}.down_proj', 'ffn_down_exps'],
  ['model.layers.{n}.mlp.experts.{e}.up_proj', 'ffn_up_exps'],
  ['model.layers.{n}.mlp.shared_expert.gate_proj', 'ffn_gate_shexp'],
  ['model.layers.{n}.mlp.shared_expert.down_proj', 'ffn_down_shexp'],
  ['model.layers.{n}.mlp.shared_expert.up_proj', 'ffn_up_shexp'],
];

const MATCHERS = PATTERNS.map(([source, gguf]) => {
  const pattern = source.replaceAll('.', '\\.').replace('{n}', '(\\d+)').replace('{e}', '(\\d+)');
  return { pattern: new RegExp(`^${pattern}$`), gguf };
});

/** The name of a linear's entry in an importance matrix, and which of its experts it is; null where llama.cpp has no such weight. */
export function importanceName(module: string): { readonly name: string; readonly expert: number } | null {
  if (module === 'lm_head') return { name: 'output.weight', expert: 0 };
  for (const { pattern, gguf } of MATCHERS) {
    const found = pattern.exec(module);
    if (found) return { name: `blk.${found[1]}.${gguf}.weight`, expert: Number(found[2] ?? 0) };
  }
  return null;
}
