import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import type { CheckpointFormat } from '../format';
import { quantizedModelConfig } from '../model-config';
import { safetensorsContainer } from '../safetensors-container';
import { awqStorage } from './awq-storage';
import { encodeLinear } from './encode-linear';
import { AWQ_BITS, GEMM, groupsOf } from './layout';
import { loading } from './loading';
import { quantizationConfig } from './quantization-config';
import { refuse, refuseTogether } from './refuse';

/** AWQ in AutoAWQ's GEMM layout: 4 bits with zero points. What is in it may come from any method on that grid. */
export const awq: CheckpointFormat = {
  name: 'awq',
  storage: awqStorage,
  container: safetensorsContainer,
  grids: ['affine'],
  smallestZero: 0,
  layout: () => GEMM,
  refuse,
  refuseTogether,
  encodeLinear: (name, linear) => encodeLinear(name, linear as AffineLinear),
  config: (context) => quantizedModelConfig(context, quantizationConfig(context)),
  files: () => new Map(),

  bitsPerWeight({ recipe, columns }, sourceBits = 16) {
    if (recipe === null) return sourceBits;
    return AWQ_BITS + (groupsOf(columns, recipe.groupSize) * (16 + AWQ_BITS)) / columns;
  },

  loading,
};
