import type { ModelShape } from '../../../models';
import { float32, type GgufMetadata, uint32 } from '../container/gguf-value';
import { decoderMetadata } from './decoder-metadata';
import { LLAMA_CONFIG_FIELDS, llamaLike } from './gguf-architecture';
import { BRANCH_NORMS, HEAD_NORMS, LLAMA_MODULES } from './llama-modules';
import { refuseScaledRotary } from './refusals';

/** Of the layers that attend to a window in Gemma 3 (llama.cpp, src/models/gemma3.cpp). */
const LOCAL_THETA = 10_000;

const FIELDS = {
  ...LLAMA_CONFIG_FIELDS,
  sliding_window: 'attention.sliding_window',
  attn_logit_softcapping: 'attn_logit_softcapping',
  final_logit_softcapping: 'final_logit_softcapping',
} as const;
const ALWAYS = { hidden_activation: 'gelu_pytorch_tanh', attention_bias: false } as const;

const { lm_head: _, ...WITHOUT_HEAD } = LLAMA_MODULES;

/** Gemma 2: norms in front of and behind both branches, soft caps, a window in every second layer. Its head is the embedding always. */
export const ggufGemma2 = llamaLike({
  name: 'gemma2',
  modules: { ...WITHOUT_HEAD, ...BRANCH_NORMS },
  metadata: (shape) => gemmaMetadata('gemma2', shape),
  refuse: (shape) =>
    refuseScaledRotary(shape) ??
    otherCaps(shape, true) ??
    otherScale(shape, 46) ??
    otherWindows(shape, (layer) => layer % 2 === 0, 'every second layer'),
  config: {
    modelClass: 'Gemma2ForCausalLM',
    fields: FIELDS,
    always: ALWAYS,
    derived: (read) => ({ query_pre_attn_scalar: scoreDivisor(read, 46) }),
  },
});

/** Gemma 3, text: norms on the heads of queries and keys, five layers of six in a window with rotary positions of their own. */
export const ggufGemma3 = llamaLike({
  name: 'gemma3',
  modules: { ...LLAMA_MODULES, ...BRANCH_NORMS, ...HEAD_NORMS },
  metadata(shape) {
    const local = shape.attention?.find(({ window }) => window !== null)?.rotary?.theta ?? LOCAL_THETA;
    const linear = shape.rotary?.linear;
    return new Map([
      ...gemmaMetadata('gemma3', shape),
      ...(local === LOCAL_THETA ? [] : [['gemma3.rope.freq_base_swa', float32(local)] as const]),
      ...(linear === undefined ? [] : linearScaling('gemma3', linear)),
    ]);
  },
  refuse: (shape) =>
    otherCaps(shape, false) ??
    otherScale(shape, 62) ??
    otherWindows(shape, (layer) => (layer + 1) % 6 !== 0, 'five layers of six'),
  config: {
    modelType: 'gemma3_text',
    modelClass: 'Gemma3ForCausalLM',
    fields: FIELDS,
    always: { ...ALWAYS, sliding_window_pattern: 6 },
    derived: (read) => ({
      query_pre_attn_scalar: scoreDivisor(read, 62),
      rope_local_base_freq: read('rope.freq_base_swa') ?? LOCAL_THETA,
      ...(read('rope.scaling.factor') !== undefined && {
        rope_scaling: { rope_type: 'linear', factor: read('rope.scaling.factor') },
      }),
    }),
  },
});

function gemmaMetadata(name: string, shape: ModelShape): GgufMetadata {
  const window = shape.attention?.find(({ window }) => window !== null)?.window;
  const { scoreCap, logitCap } = shape;
  return new Map([
    ...decoderMetadata(name, shape),
    ...(window ? [[`${name}.attention.sliding_window`, uint32(window)] as const] : []),
    ...(scoreCap === undefined ? [] : [[`${name}.attn_logit_softcapping`, float32(scoreCap)] as const]),
    ...(logitCap === undefined ? [] : [[`${name}.final_logit_softcapping`, float32(logitCap)] as const]),
  ]);
}

function linearScaling(name: string, factor: number): GgufMetadata {
  return new Map([
    [`${name}.rope.scaling.type`, { type: 'string', value: 'linear' }],
    [`${name}.rope.scaling.factor`, float32(factor)],
  ]);
}

/** llama.cpp divides scores by the root of the head size; in the largest model, which it knows by its layers, by that of hiddenSize / heads. */
function scoreDivisor(read: (key: string) => number | undefined, largest: number): number | undefined {
  const heads = read('attention.head_count') ?? 1;
  return read('block_count') === largest ? (read('embedding_length') ?? 0) / heads : read('attention.key_length');
}

function otherScale({ scoreScale, layers, hiddenSize, heads, headSize }: ModelShape, largest: number): string | null {
  const divisor = layers === largest ? hiddenSize / heads : headSize;
  const same = scoreScale === undefined || Math.abs(scoreScale * Math.sqrt(divisor) - 1) < 1e-6;
  return same
    ? null
    : `llama.cpp divides scores by the root of ${divisor} in this architecture, and config.json says otherwise (query_pre_attn_scalar)`;
}

function otherWindows(
  { attention = [] }: ModelShape,
  slides: (layer: number) => boolean,
  usual: string,
): string | null {
  const same = attention.every(({ window }, layer) => (window !== null) === slides(layer));
  return same
    ? null
    : `llama.cpp has the sliding window in ${usual} of this architecture, and config.json says otherwise (layer_types)`;
}

function otherCaps({ scoreCap, logitCap }: ModelShape, always: boolean): string | null {
  const same = always ? scoreCap !== undefined && logitCap !== undefined : scoreCap === undefined;
  return same
    ? null
    : `llama.cpp ${always ? 'always' : 'never'} caps scores in this architecture, and config.json says otherwise (attn_logit_softcapping, final_logit_softcapping)`;
}
