import type { ModelShape } from '../../../models';
import type { GgufMetadata } from '../container/gguf-value';
import { decoderMetadata } from './decoder-metadata';
import { LLAMA_MODULES } from './llama-modules';
import { refuseScaledRotary } from './refusals';

type Config = Readonly<Record<string, unknown>>;

/** An entry of the registry: how an architecture is called in GGUF, what its tensors are called, and what the header says of it. */
export interface GgufArchitecture {
  /** `general.architecture`, and the prefix of its keys. */
  readonly name: string;
  /**
   * Modules of the source and their names in GGUF, without `.weight` or `.bias`; `{n}` stands for the layer, `{e}` for the expert: those of a layer
   * are one tensor in GGUF, a stack `[experts, rows, columns]`.
   */
  readonly modules: Readonly<Record<string, string>>;
  /** Keys beside those of every model. */
  metadata(shape: ModelShape, config: Config): GgufMetadata;
  /** How many heads the rows of this module (name in the source) are permuted in; 0 when they stay in order. See `rotaryRowOrder`. */
  permutedHeads(module: string, shape: ModelShape): number;
  /** Float32 tensors that the source does not have, by their names in GGUF. */
  extraTensors(shape: ModelShape, config: Config): ReadonlyMap<string, Float32Array>;
  /** What names of modules begin with, where some files leave it out. */
  readonly prefix: string;
  /** Modules whose weights the source holds as `[columns, rows]`. null: none. */
  readonly transposed: RegExp | null;
  /**
   * Why llama.cpp would compute another model than this one, or none, as a part of a sentence; null: it would not.
   *
   * @param tensors names in the source.
   */
  refuse(shape: ModelShape, tensors: readonly string[]): string | null;
  /** config.json of a file that has none beside it. */
  readonly config: GgufConfig;
}

export interface GgufConfig {
  readonly modelType: string;
  readonly modelClass: string;
  /** Fields and their keys, behind the architecture's prefix. */
  readonly fields: Readonly<Record<string, string>>;
  /** Fields that files of this architecture have in common. */
  readonly always: Config;
  /** Fields that follow from several keys; `read` gives the number of a key behind the prefix. */
  derived?(read: (key: string) => number | undefined): Config;
}

export const LLAMA_CONFIG_FIELDS = {
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

/** An architecture that is Llama but for what is said; rows of q and k stay in the order of the source. */
export function llamaLike(
  own: Partial<Omit<GgufArchitecture, 'config'>> &
    Pick<GgufArchitecture, 'name'> & { readonly config: Partial<GgufConfig> & Pick<GgufConfig, 'modelClass'> },
): GgufArchitecture {
  return {
    modules: LLAMA_MODULES,
    metadata: (shape) => decoderMetadata(own.name, shape),
    permutedHeads: () => 0,
    extraTensors: () => new Map(),
    prefix: '',
    transposed: null,
    refuse: refuseScaledRotary,
    ...own,
    config: { modelType: own.name, fields: LLAMA_CONFIG_FIELDS, always: { hidden_act: 'silu' }, ...own.config },
  };
}
