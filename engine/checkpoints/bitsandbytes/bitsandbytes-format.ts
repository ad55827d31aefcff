import type { CodebookLinear } from '../../quantizers/grids/codebook-grid';
import type { Int8RowsLinear } from '../../quantizers/grids/int8-rows-grid';
import type { LinearPlan } from '../../spec';
import type { CheckpointFormat } from '../format';
import { quantizedModelConfig } from '../model-config';
import { safetensorsContainer } from '../safetensors-container';
import { bitsandbytesStorage } from './bitsandbytes-storage';
import { encodeLinear } from './encode-linear';
import { type BitsandbytesLayout, layoutOf } from './layout';
import { loading } from './loading';
import { quantizationConfig } from './quantization-config';

/** Bits of a table of 16 float32, and of the QuantState's JSON, about. */
const TABLE_BITS = 16 * 32 + 170 * 8;
const NESTED_TABLE_BITS = 256 * 32;

/** bitsandbytes as transformers saves and loads it: NF4, FP4 and int8. */
export const bitsandbytes: CheckpointFormat = {
  name: 'bitsandbytes',
  storage: bitsandbytesStorage,
  container: safetensorsContainer,
  grids: ['codebook', 'int8-rows'],
  smallestZero: 0,
  layout: (linears) => layoutsOf(linears)[0] ?? 'nf4',
  // transformers keeps a layer's experts in one tensor, and bitsandbytes replaces linears only.
  refuse: ({ expert }) =>
    expert === undefined
      ? null
      : 'no reader of it knows experts that are quantized one by one. Write the format compressed-tensors or gptq with the method gptq or rtn, or keep experts in 16 bit (an override "*.experts.*" with skip).',

  refuseTogether(linears) {
    const layouts = layoutsOf(linears);
    if (layouts.length < 2) return null;
    return `one checkpoint holds ${layouts.join(' or ')}, not both: config.json has one for all. Give every linear the same method, or skip some.`;
  },

  encodeLinear: (name, linear) => encodeLinear(name, linear as CodebookLinear | Int8RowsLinear),
  config: (context) => quantizedModelConfig(context, quantizationConfig(context)),
  files: () => new Map(),

  bitsPerWeight({ recipe, rows, columns }, sourceBits = 16) {
    if (recipe === null) return sourceBits;
    const weights = rows * columns;
    if (layoutOf(recipe) === 'int8') return 8 + (rows * 32 + 8) / weights;
    const blocks = Math.ceil(weights / recipe.groupSize);
    const nested = recipe.doubleQuant ?? true;
    const scaleBits = nested ? blocks * 8 + Math.ceil(blocks / 256) * 32 + NESTED_TABLE_BITS : blocks * 32;
    return 4 + (scaleBits + TABLE_BITS) / weights;
  },

  loading,
};

/** Each once, in the order of the model. */
function layoutsOf(linears: readonly LinearPlan[]): BitsandbytesLayout[] {
  return [...new Set(linears.flatMap(({ recipe }) => (recipe && layoutOf(recipe)) ?? []))];
}
