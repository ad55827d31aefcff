import type { ModelShape } from '../../models/architecture';
import type { OnnxSource } from './onnx-source';

export interface GenaiConfigOptions {
  readonly config: OnnxSource['config'];
  /** generation_config.json; empty where there is none. */
  readonly generation: Readonly<Record<string, unknown>>;
  readonly shape: ModelShape;
  /** Path of the model, relative to the directory. */
  readonly modelFile: string;
}

/** Types that onnxruntime-genai 0.18 has no name for; they are decoders as any. */
const UNNAMED_TYPES: readonly unknown[] = ['opt', 'mixtral', 'qwen2_moe', 'qwen3_moe'];

/**
 * The genai_config.json of onnxruntime-genai (fields: its documentation of the file, and src/config.cpp of release 0.14 to 0.18). `%d` in a name
 * is the number of a layer. Where generation_config.json is silent it searches greedily.
 */
export function genaiConfig({ config, generation, shape, modelFile }: GenaiConfigOptions): Record<string, unknown> {
  const field = (name: string) => generation[name] ?? config[name] ?? undefined;
  const endOfText = field('eos_token_id');
  const positions = Math.min(shape.maxPositions, shape.sequenceLimit?.tokens ?? Number.POSITIVE_INFINITY);
  const firstEnd = Array.isArray(endOfText) ? endOfText[0] : endOfText;
  return {
    model: {
      type: UNNAMED_TYPES.includes(config.model_type) ? 'decoder' : config.model_type,
      vocab_size: shape.vocabularySize,
      context_length: positions,
      bos_token_id: field('bos_token_id'),
      eos_token_id: endOfText,
      pad_token_id: field('pad_token_id') ?? firstEnd,
      decoder: {
        session_options: { log_id: 'onnxruntime-genai', provider_options: [] },
        filename: modelFile,
        head_size: shape.headSize,
        hidden_size: shape.hiddenSize,
        num_attention_heads: shape.heads,
        num_hidden_layers: shape.layers,
        num_key_value_heads: shape.keyValueHeads,
        inputs: {
          input_ids: 'input_ids',
          attention_mask: 'attention_mask',
          past_key_names: 'past_key_values.%d.key',
          past_value_names: 'past_key_values.%d.value',
        },
        outputs: {
          logits: 'logits',
          present_key_names: 'present.%d.key',
          present_value_names: 'present.%d.value',
        },
      },
    },
    search: {
      max_length: positions,
      do_sample: field('do_sample') ?? false,
      temperature: field('temperature') ?? 1,
      top_k: field('top_k') ?? 50,
      top_p: field('top_p') ?? 1,
      repetition_penalty: field('repetition_penalty') ?? 1,
      past_present_share_buffer: true,
    },
  };
}
