import type { LayerAttention } from './architecture';
import { size } from './config-fields';
import { decoderArchitecture } from './decoder-architecture';
import { LLAMA_FIELDS } from './decoder-shape';
import { EXPERTS_REFUSED, expertCounts, sparseLayers } from './expert-fields';
import { llamaModules } from './llama-modules';
import { slidingLayers, slidingWindow } from './sliding-window';

/** Qwen 1.5 MoE and Qwen2-MoE (arXiv 2407.10671, section 2.2.2): Qwen2's layers with fine-grained experts, and one that every token passes. */
export const qwen2Moe = decoderArchitecture({
  name: 'qwen2_moe',
  modelClass: 'Qwen2MoeForCausalLM',
  modelType: 'qwen2_moe',
  ...llamaModules({ bias: { inputs: 'stored', output: 'never', mlp: 'never' } }),
  experts: {
    router: 'mlp.gate',
    modules: 'mlp.experts',
    projections: { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' },
    shared: { module: 'mlp.shared_expert', router: 'mlp.shared_expert_gate' },
  },
  config: {
    ...LLAMA_FIELDS,
    intermediateSize: { field: 'intermediate_size', otherwise: 5632 },
    keyValueHeads: { field: 'num_key_value_heads', otherwise: 16 },
    headSize: { field: 'head_dim', otherwise: ({ hiddenSize, heads }) => hiddenSize / heads },
    maxPositions: { field: 'max_position_embeddings', otherwise: 32768 },
    refused: EXPERTS_REFUSED,
    attention(config, { layers, rotary }) {
      // Unlike Qwen2's: every second of the first layers.
      const end = (config.max_window_layers ?? 28) as number;
      const slides = slidingLayers(config, layers, (layer) => layer % 2 === 0 && layer < end, 'qwen2_moe');
      const window = config.use_sliding_window === true ? slidingWindow(config, 4096) : null;
      if (window === null || !slides.includes(true)) return null;
      return slides.map((slide): LayerAttention => ({ window: slide ? window : null, rotary }));
    },
    experts: (config, { layers }) => ({
      ...expertCounts(config, { fields: ['num_experts'], count: 60, perToken: 4 }),
      intermediateSize: size(config, 'moe_intermediate_size', 1408),
      sharedIntermediateSize: size(config, 'shared_expert_intermediate_size', 5632),
      normalized: config.norm_topk_prob === true,
      layers: sparseLayers(config, { layers }),
    }),
  },
});
