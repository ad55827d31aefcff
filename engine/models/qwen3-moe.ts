import { size } from './config-fields';
import { decoderArchitecture } from './decoder-architecture';
import { LLAMA_FIELDS } from './decoder-shape';
import { EXPERTS_REFUSED, expertCounts, sparseLayers } from './expert-fields';
import { llamaModules } from './llama-modules';
import { slidingWindow, windowEverywhere } from './sliding-window';

/** Qwen3 with experts (arXiv 2505.09388): Qwen3's layers, and eight of 128 experts for a token. */
export const qwen3Moe = decoderArchitecture({
  name: 'qwen3_moe',
  modelClass: 'Qwen3MoeForCausalLM',
  modelType: 'qwen3_moe',
  ...llamaModules({
    bias: { inputs: 'stored', output: 'stored', mlp: 'never' },
    innerNorms: { 'q-norm': 'self_attn.q_norm', 'k-norm': 'self_attn.k_norm' },
  }),
  experts: {
    router: 'mlp.gate',
    modules: 'mlp.experts',
    projections: { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' },
  },
  config: {
    ...LLAMA_FIELDS,
    intermediateSize: { field: 'intermediate_size', otherwise: 6144 },
    keyValueHeads: { field: 'num_key_value_heads', otherwise: 4 },
    maxPositions: { field: 'max_position_embeddings', otherwise: 32768 },
    refused: EXPERTS_REFUSED,
    attention: (config, shape) =>
      windowEverywhere(config.use_sliding_window === true ? slidingWindow(config, 4096) : null, shape),
    experts: (config, { layers }) => ({
      // transformers 5 writes the second name.
      ...expertCounts(config, { fields: ['num_experts', 'num_local_experts'], count: 128, perToken: 8 }),
      intermediateSize: size(config, 'moe_intermediate_size', 768),
      sharedIntermediateSize: 0,
      normalized: config.norm_topk_prob === true,
      layers: sparseLayers(config, { layers }),
    }),
  },
});
