import type { LayerAttention } from './architecture';
import { decoderArchitecture } from './decoder-architecture';
import { GEMMA_FIELDS, GEMMA_REFUSED, gemmaExtras } from './gemma-fields';
import { llamaModules } from './llama-modules';
import { slidingLayers, slidingWindow } from './sliding-window';

/** Gemma 2 (arXiv 2408.00118): norms before and behind both branches, GEGLU, soft caps, a sliding window in every second layer. */
export const gemma2 = decoderArchitecture({
  name: 'gemma2',
  modelClass: 'Gemma2ForCausalLM',
  modelType: 'gemma2',
  ...llamaModules({
    bias: { inputs: 'stored', output: 'stored', mlp: 'never' },
    outputNorms: true,
    mlp: 'gated-gelu-tanh',
  }),
  config: {
    ...GEMMA_FIELDS,
    keyValueHeads: { field: 'num_key_value_heads', otherwise: 4 },
    maxPositions: { field: 'max_position_embeddings', otherwise: 8192 },
    refused: GEMMA_REFUSED,
    attention(config, { layers, rotary }) {
      const window = slidingWindow(config, 4096);
      const slides = slidingLayers(config, layers, (layer) => layer % 2 === 0, 'gemma2');
      return slides.map((slide): LayerAttention => ({ window: slide ? window : null, rotary }));
    },
    extras: (config, { hiddenSize }) => gemmaExtras(config, hiddenSize, { score: 50, logit: 30 }),
  },
});
