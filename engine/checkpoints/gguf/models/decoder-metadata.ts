import type { ModelShape } from '../../../models';
import type { RotaryScaling } from '../../../models/architecture';
import { float32, type GgufMetadata, uint32 } from '../container/gguf-value';

/** The keys that describe a decoder with rotary grouped-query attention, under the architecture's prefix. */
export function decoderMetadata(prefix: string, shape: ModelShape): GgufMetadata {
  return new Map([
    [`${prefix}.block_count`, uint32(shape.layers)],
    [`${prefix}.context_length`, uint32(shape.maxPositions)],
    [`${prefix}.embedding_length`, uint32(shape.hiddenSize)],
    [`${prefix}.feed_forward_length`, uint32(shape.intermediateSize)],
    [`${prefix}.attention.head_count`, uint32(shape.heads)],
    [`${prefix}.attention.head_count_kv`, uint32(shape.keyValueHeads)],
    [`${prefix}.attention.key_length`, uint32(shape.headSize)],
    [`${prefix}.attention.value_length`, uint32(shape.headSize)],
    [`${prefix}.attention.layer_norm_rms_epsilon`, float32(shape.normEpsilon)],
    [`${prefix}.rope.dimension_count`, uint32(shape.headSize)],
    [`${prefix}.rope.freq_base`, float32((shape.rotary as RotaryScaling).theta)],
    [`${prefix}.vocab_size`, uint32(shape.vocabularySize)],
  ]);
}
