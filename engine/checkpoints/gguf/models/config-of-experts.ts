import type { GgufMetadata } from '../container/gguf-value';

/**
 * The fields of config.json that describe a mixture of experts; none where the header has no number of experts. What the header does not say is
 * what llama.cpp computes: experts in every layer, weights divided by their sum but for `qwen2moe`, and where widths are missing, the
 * feed_forward_length, shared by the experts that a token passes.
 */
export function configOfExperts(metadata: GgufMetadata, architecture: string): Record<string, unknown> {
  const numberOf = (key: string) => Number(metadata.get(`${architecture}.${key}`)?.value ?? 0);
  const count = numberOf('expert_count');
  if (count === 0) return {};
  const perToken = numberOf('expert_used_count');
  if (architecture === 'llama') {
    return {
      ...{ architectures: ['MixtralForCausalLM'], model_type: 'mixtral' },
      ...{ num_local_experts: count, num_experts_per_tok: perToken, sliding_window: null },
    };
  }
  const width = numberOf('feed_forward_length');
  const shared = numberOf('expert_shared_feed_forward_length') || width;
  return {
    num_experts: count,
    num_experts_per_tok: perToken,
    moe_intermediate_size: numberOf('expert_feed_forward_length') || Math.floor(width / perToken),
    ...(architecture === 'qwen2moe' && { shared_expert_intermediate_size: shared }),
    norm_topk_prob: architecture !== 'qwen2moe',
    ...{ decoder_sparse_step: 1, mlp_only_layers: [], use_sliding_window: false },
  };
}
