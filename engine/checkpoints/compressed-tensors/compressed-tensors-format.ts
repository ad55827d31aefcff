import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import type { MinifloatLinear } from '../../quantizers/grids/minifloat-grid';
import type { LinearPlan } from '../../spec';
import type { CheckpointFormat } from '../format';
import { quantizedModelConfig } from '../model-config';
import { safetensorsContainer } from '../safetensors-container';
import { compressedTensorsStorage } from './compressed-tensors-storage';
import { type LinearLayout, linearLayout, MIXED_PRECISION, PACK_QUANTIZED } from './layout';
import { loading } from './loading';
import { quantizationConfig } from './quantization-config';
import { refuse } from './refuse';
import { VARIANTS } from './variants';

/** compressed-tensors: what transformers and vLLM load from llm-compressor. */
export const compressedTensors: CheckpointFormat = {
  name: 'compressed-tensors',
  storage: compressedTensorsStorage,
  container: safetensorsContainer,
  grids: ['affine', 'minifloat'],
  quantizesActivations: true,
  smallestZero: 0,

  layout(linears) {
    const layouts = new Set(linears.flatMap(layoutOf));
    const [only = PACK_QUANTIZED, ...others] = layouts;
    return others.length > 0 ? MIXED_PRECISION : only;
  },

  layoutOf: (linear, layout) => layoutOf(linear)[0] ?? layout,
  refuse,
  encodeLinear: (name, linear, layout) =>
    VARIANTS[layout as LinearLayout].encode(name, linear as AffineLinear & MinifloatLinear),
  config: (context) => quantizedModelConfig(context, quantizationConfig(context)),
  files: () => new Map(),

  bitsPerWeight({ recipe, rows, columns }, sourceBits = 16) {
    if (recipe === null) return sourceBits;
    return VARIANTS[linearLayout(recipe)].bitsPerWeight(recipe, rows, columns);
  },

  loading,
};

/** Empty: it is kept. */
function layoutOf({ recipe }: LinearPlan): LinearLayout[] {
  return recipe ? [linearLayout(recipe)] : [];
}
