import type { LayerAttention, RotaryScaling } from './architecture';
import { type Config, isObject, positive } from './config-fields';
import { decoderArchitecture } from './decoder-architecture';
import { GEMMA_FIELDS, GEMMA_REFUSED, gemmaExtras } from './gemma-fields';
import { llamaModules } from './llama-modules';
import { rotaryOf } from './rotary-scaling';
import { slidingLayers, slidingWindow } from './sliding-window';

/** Gemma 3, text (arXiv 2503.19786): Gemma 2 with norms on the heads of queries and keys, five layers of six in a window with rotary positions of their own. */
export const gemma3 = decoderArchitecture({
  name: 'gemma3',
  modelClass: 'Gemma3ForCausalLM',
  modelType: 'gemma3_text',
  ...llamaModules({
    bias: { inputs: 'stored', output: 'stored', mlp: 'never' },
    innerNorms: { 'q-norm': 'self_attn.q_norm', 'k-norm': 'self_attn.k_norm' },
    outputNorms: true,
    mlp: 'gated-gelu-tanh',
  }),
  config: {
    ...GEMMA_FIELDS,
    keyValueHeads: { field: 'num_key_value_heads', otherwise: 4 },
    maxPositions: { field: 'max_position_embeddings', otherwise: 131072 },
    refused: GEMMA_REFUSED,
    rotaryOf: (config, { maxPositions }) => rotaryOfLayers(config, 'full_attention', maxPositions),
    attention(config, { layers, maxPositions, rotary }) {
      const window = slidingWindow(config, 4096);
      const every = positive(config, 'sliding_window_pattern', 6);
      const slides = slidingLayers(config, layers, (layer) => (layer + 1) % every !== 0, 'gemma3');
      const local = rotaryOfLayers(config, 'sliding_attention', maxPositions);
      return slides.map((slide): LayerAttention => (slide ? { window, rotary: local } : { window: null, rotary }));
    },
    extras: (config, { hiddenSize }) => gemmaExtras(config, hiddenSize, { score: null, logit: null }),
  },
});

/**
 * transformers 5 writes `rope_parameters` by type of layer; before, `rope_theta` and `rope_scaling` were of the layers that attend to all, and
 * `rope_local_base_freq` of those in a window, which nothing scales.
 */
function rotaryOfLayers(
  config: Config,
  type: 'full_attention' | 'sliding_attention',
  maxPositions: number,
): RotaryScaling {
  const isFull = type === 'full_attention';
  const theta = isFull ? positive(config, 'rope_theta', 1_000_000) : positive(config, 'rope_local_base_freq', 10_000);
  const kinds = ['default', 'linear'] as const;
  const parameters = isObject(config.rope_parameters) ? config.rope_parameters[type] : null;
  if (isObject(parameters)) {
    return rotaryOf({ scaling: parameters, field: `rope_parameters.${type}`, theta, kinds }, maxPositions, 'gemma3');
  }
  const scaling = isFull && isObject(config.rope_scaling) ? config.rope_scaling : {};
  return rotaryOf({ scaling, field: 'rope_scaling', theta, kinds }, maxPositions, 'gemma3');
}
