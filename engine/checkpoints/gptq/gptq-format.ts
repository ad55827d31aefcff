import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import type { LinearPlan } from '../../spec';
import type { CheckpointContext, CheckpointFormat } from '../format';
import { quantizedModelConfig } from '../model-config';
import { CODES_PER_BLOCK } from '../pack-words';
import { safetensorsContainer } from '../safetensors-container';
import { encodeLinear } from './encode-linear';
import { gptqStorage } from './gptq-storage';
import type { GptqLayout } from './layout';
import { loading } from './loading';
import { quantizationConfig } from './quantization-config';

/** GPTQ v1: what transformers, vLLM, SGLang and every other reader of GPTQ loads. */
export const gptq: CheckpointFormat = gptqFormat('gptq');

/** GPTQ v2: stores zero points as they are, which asymmetric low bits need. */
export const gptqV2: CheckpointFormat = gptqFormat('gptq_v2');

function gptqFormat(name: 'gptq' | 'gptq_v2'): CheckpointFormat {
  const layout = (linears: readonly LinearPlan[]): GptqLayout =>
    linears.some((linear) => linear.recipe !== null && isPlanar(linear.recipe.bits)) ? 'gptq_p' : name;

  return {
    name,
    storage: gptqStorage,
    container: safetensorsContainer,
    grids: ['affine'],
    smallestZero: name === 'gptq' ? 1 : 0,
    layout,
    refuse,
    encodeLinear: (module, linear, variant) => encodeLinear(module, linear as AffineLinear, variant as GptqLayout),

    config: (context) => quantizedModelConfig(context, quantizationConfig(context)),

    files(context: CheckpointContext) {
      const text = `${JSON.stringify(quantizationConfig(context), null, 2)}\n`;
      return new Map([['quantize_config.json', text]]);
    },

    bitsPerWeight({ recipe, columns, rows }, sourceBits = 16) {
      if (recipe === null) return sourceBits;
      const groups = recipe.groupSize === -1 ? 1 : Math.ceil(columns / recipe.groupSize);
      return recipe.bits + (groups * (16 + recipe.bits)) / columns + 32 / rows;
    },

    loading,
  };
}

function refuse({ recipe, rows, columns }: LinearPlan): string | null {
  if (recipe === null) return null;
  for (const [what, size] of Object.entries({ rows, columns })) {
    if (size % CODES_PER_BLOCK !== 0) {
      return `${size} ${what} are not a multiple of 32, which GPTQ files need. Keep it in 16 bit (an override with skip).`;
    }
  }
  return null;
}

function isPlanar(bits: number): boolean {
  return bits > 4 && bits < 8;
}
