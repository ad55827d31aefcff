import type { CheckpointFormat } from '../format';
import { quantizedModelConfig } from '../model-config';
import { safetensorsContainer } from '../safetensors-container';
import { compressedTensorsStorage } from './compressed-tensors-storage';
import { encodeLinear } from './encode-linear';
import { groupsOf, PACK_QUANTIZED } from './layout';
import { loading } from './loading';
import { quantizationConfig } from './quantization-config';
import { refuse } from './refuse';

const SHAPE_BITS = 2 * 64;

/** compressed-tensors, pack-quantized: what transformers and vLLM load from llm-compressor. */
export const compressedTensors: CheckpointFormat = {
  name: 'compressed-tensors',
  storage: compressedTensorsStorage,
  container: safetensorsContainer,
  grids: ['affine'],
  smallestZero: 0,
  layout: () => PACK_QUANTIZED,
  refuse,
  encodeLinear,
  config: (context) => quantizedModelConfig(context, quantizationConfig(context)),
  files: () => new Map(),

  bitsPerWeight({ recipe, columns, rows }, sourceBits = 16) {
    if (recipe === null) return sourceBits;
    const { bits, groupSize, symmetric } = recipe;
    return (
      bits + (groupsOf(columns, groupSize) * (16 + (symmetric ? 0 : bits))) / columns + SHAPE_BITS / (rows * columns)
    );
  },

  loading,
};
