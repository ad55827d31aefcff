import type { ModelShape } from '../../../models';
import { type GgufMetadata, uint32 } from '../container/gguf-value';

/** Experts of Mixtral, which llama.cpp has as an architecture `llama`. */
export const MIXTRAL_EXPERTS = {
  'model.layers.{n}.block_sparse_moe.gate': 'blk.{n}.ffn_gate_inp',
  'model.layers.{n}.block_sparse_moe.experts.{e}.w1': 'blk.{n}.ffn_gate_exps',
  'model.layers.{n}.block_sparse_moe.experts.{e}.w2': 'blk.{n}.ffn_down_exps',
  'model.layers.{n}.block_sparse_moe.experts.{e}.w3': 'blk.{n}.ffn_up_exps',
} as const;

/** Experts of Qwen's mixtures. */
export const QWEN_EXPERTS = {
  'model.layers.{n}.mlp.gate': 'blk.{n}.ffn_gate_inp',
  'model.layers.{n}.mlp.experts.{e}.gate_proj': 'blk.{n}.ffn_gate_exps',
  'model.layers.{n}.mlp.experts.{e}.down_proj': 'blk.{n}.ffn_down_exps',
  'model.layers.{n}.mlp.experts.{e}.up_proj': 'blk.{n}.ffn_up_exps',
} as const;

/** The expert that every token passes, and what weighs it. */
export const SHARED_EXPERT = {
  'model.layers.{n}.mlp.shared_expert_gate': 'blk.{n}.ffn_gate_inp_shexp',
  'model.layers.{n}.mlp.shared_expert.gate_proj': 'blk.{n}.ffn_gate_shexp',
  'model.layers.{n}.mlp.shared_expert.down_proj': 'blk.{n}.ffn_down_shexp',
  'model.layers.{n}.mlp.shared_expert.up_proj': 'blk.{n}.ffn_up_shexp',
} as const;

/** The keys that describe a mixture of experts; none where there is none. */
export function expertMetadata(prefix: string, { experts }: ModelShape): GgufMetadata {
  if (!experts) return new Map();
  return new Map([
    [`${prefix}.expert_count`, uint32(experts.count)],
    [`${prefix}.expert_used_count`, uint32(experts.perToken)],
  ]);
}

/** How wide experts are that are not as wide as `feed_forward_length` says, as Qwen's. */
export function expertWidths(prefix: string, { experts }: ModelShape): GgufMetadata {
  const { intermediateSize = 0, sharedIntermediateSize = 0 } = experts ?? {};
  return new Map([
    [`${prefix}.expert_feed_forward_length`, uint32(intermediateSize)],
    ...(sharedIntermediateSize === 0
      ? []
      : [[`${prefix}.expert_shared_feed_forward_length`, uint32(sharedIntermediateSize)] as const]),
  ]);
}

/**
 * Why llama.cpp would compute another model than this mixture of experts, and what to do; null: it does not.
 *
 * @param normalized whether it divides the weights of a token's experts by their sum: of an architecture it is always the same, whatever
 * config.json says.
 */
export function refuseExperts({ experts, attention }: ModelShape, normalized: boolean): string | null {
  if (!experts) return null;
  const dense = experts.layers.indexOf(false);
  if (dense !== -1) {
    return `layer ${dense} has no experts, and llama.cpp looks for them in every layer of this architecture`;
  }
  if (experts.normalized !== normalized) {
    const does = normalized ? 'always divides' : 'never divides';
    return `llama.cpp ${does} the weights of a token's experts by their sum, and config.json says otherwise (norm_topk_prob: ${experts.normalized})`;
  }
  const window = attention?.find((layer) => layer.window !== null)?.window;
  return window === undefined
    ? null
    : `llama.cpp attends to all tokens in this architecture, and config.json says windows of ${window} (sliding_window)`;
}
