import type { ModelShape } from '../../../models';
import type { GgufMetadata } from '../container/gguf-value';

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
  metadata(shape: ModelShape): GgufMetadata;
  /** How many heads the rows of this module (name in the source) are permuted in; 0 when they stay in order. See `rotaryRowOrder`. */
  permutedHeads(module: string, shape: ModelShape): number;
  /** Float32 tensors that the source does not have, by their names in GGUF. */
  extraTensors(shape: ModelShape): ReadonlyMap<string, Float32Array>;
  /**
   * Why llama.cpp would compute another model than this one, or none, as a part of a sentence; null: it would not. Absent: nothing is refused.
   *
   * @param tensors names in the source.
   */
  refuse?(shape: ModelShape, tensors: readonly string[]): string | null;
}
