import { QuantloomError } from '../../../spec';
import type { GgufMetadata } from '../container/gguf-value';
import { configOfExperts } from './config-of-experts';

/** By `general.architecture`: `model_type` and class of transformers. */
const MODEL_TYPES: Readonly<Record<string, readonly [modelType: string, modelClass: string]>> = {
  llama: ['llama', 'LlamaForCausalLM'],
  qwen2: ['qwen2', 'Qwen2ForCausalLM'],
  qwen2moe: ['qwen2_moe', 'Qwen2MoeForCausalLM'],
  qwen3moe: ['qwen3_moe', 'Qwen3MoeForCausalLM'],
};

/** Fields of config.json and their keys in GGUF, behind the architecture's prefix. */
const FIELDS = {
  hidden_size: 'embedding_length',
  intermediate_size: 'feed_forward_length',
  num_hidden_layers: 'block_count',
  num_attention_heads: 'attention.head_count',
  num_key_value_heads: 'attention.head_count_kv',
  head_dim: 'attention.key_length',
  max_position_embeddings: 'context_length',
  rms_norm_eps: 'attention.layer_norm_rms_epsilon',
  rope_theta: 'rope.freq_base',
} as const;

/**
 * What config.json would say of a GGUF file's model.
 *
 * @throws QuantloomError UnsupportedArchitecture, UnsupportedInput for rotary scaling that the header does not name.
 */
export function configOfMetadata(
  metadata: GgufMetadata,
  tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>,
): Record<string, unknown> {
  const architecture = String(metadata.get('general.architecture')?.value);
  const [modelType, modelClass] = (Object.hasOwn(MODEL_TYPES, architecture) && MODEL_TYPES[architecture]) || [];
  if (modelType === undefined) {
    throw new QuantloomError(
      'UnsupportedArchitecture',
      `general.architecture is ${JSON.stringify(architecture)}; ${Object.keys(MODEL_TYPES).join(', ')} can be read.`,
    );
  }
  const scaling = metadata.get(`${architecture}.rope.scaling.type`)?.value ?? 'none';
  if (tensors.has('rope_freqs.weight') || scaling !== 'none') {
    throw new QuantloomError(
      'UnsupportedInput',
      'The file scales rotary positions, and its header does not say by which rule. Put the config.json of its source beside it.',
    );
  }
  const fields = Object.entries(FIELDS).flatMap(([field, key]) => {
    const value = metadata.get(`${architecture}.${key}`)?.value;
    return value === undefined ? [] : [[field, decimal(Number(value))] as const];
  });
  return {
    architectures: [modelClass],
    model_type: modelType,
    hidden_act: 'silu',
    ...Object.fromEntries(fields),
    ...Object.fromEntries(
      ['bos_token_id', 'eos_token_id'].flatMap((field) => {
        const id = metadata.get(`tokenizer.ggml.${field}`)?.value;
        return id === undefined ? [] : [[field, Number(id)] as const];
      }),
    ),
    ...configOfExperts(metadata, architecture),
    vocab_size: tensors.get('token_embd.weight')?.shape[0],
    tie_word_embeddings: !tensors.has('output.weight'),
  };
}

/** As it was written before it became a float32: 1e-5, not 0.000009999999747378752. */
function decimal(value: number): number {
  const short = Number(value.toPrecision(7));
  return Math.fround(short) === value ? short : value;
}
