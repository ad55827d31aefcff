import type { ModelShape, RotaryScaling } from '../../../models/architecture';
import { float32, uint32 } from '../container/gguf-value';
import { decoderMetadata } from './decoder-metadata';
import { LLAMA_CONFIG_FIELDS, llamaLike } from './gguf-architecture';
import { LLAMA_MODULES } from './llama-modules';

/**
 * Phi-3, 3.5 and 4: q, k and v in one matrix, gate and up in another. Factors of LongRoPE are tensors; llama.cpp takes the short ones up to
 * the context that the model was first trained on (llama.cpp, src/models/phi3.cpp), and attends to all tokens, whatever the window.
 */
export const ggufPhi3 = llamaLike({
  name: 'phi3',
  modules: {
    ...LLAMA_MODULES,
    'model.layers.{n}.self_attn.qkv_proj': 'blk.{n}.attn_qkv',
    'model.layers.{n}.mlp.gate_up_proj': 'blk.{n}.ffn_up',
  },

  metadata(shape) {
    const { rotated = shape.headSize, amplitude = 1, factors } = shape.rotary as RotaryScaling;
    const window = shape.attention?.[0]?.window ?? null;
    return new Map([
      ...decoderMetadata('phi3', shape),
      ['phi3.rope.dimension_count', uint32(rotated)],
      ['phi3.rope.scaling.original_context_length', uint32(originalPositions(shape))],
      ...(factors ? [['phi3.rope.scaling.attn_factor', float32(amplitude)] as const] : []),
      ...(window === null ? [] : [['phi3.attention.sliding_window', uint32(window)] as const]),
    ]);
  },

  extraTensors(shape, config) {
    const { factors } = shape.rotary as RotaryScaling;
    if (!factors) return new Map();
    const scaling = (config.rope_parameters ?? config.rope_scaling) as { readonly long_factor?: readonly number[] };
    return new Map([
      ['rope_factors_long.weight', Float32Array.from(scaling.long_factor ?? factors)],
      ['rope_factors_short.weight', Float32Array.from(factors)],
    ]);
  },

  config: {
    modelClass: 'Phi3ForCausalLM',
    fields: { ...LLAMA_CONFIG_FIELDS, sliding_window: 'attention.sliding_window' },
    derived(read) {
      const [rotated, whole] = [read('rope.dimension_count'), read('attention.key_length')];
      const headSize = whole ?? (read('embedding_length') ?? 0) / (read('attention.head_count') ?? 1);
      return rotated === undefined || rotated === headSize ? {} : { partial_rotary_factor: rotated / headSize };
    },
  },
});

function originalPositions({ sequenceLimit, maxPositions }: ModelShape): number {
  return sequenceLimit?.tokens ?? maxPositions;
}
