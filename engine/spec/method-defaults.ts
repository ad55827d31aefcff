import { recipeOfFloats } from './float-types';
import type { QuantizationSpec, Recipe } from './quantization-spec';

interface MethodDefaults {
  readonly recipe: Partial<Recipe>;
  readonly formats: QuantizationSpec['formats'];
  readonly scaling?: QuantizationSpec['scaling'];
}

const FOUR_BITS: MethodDefaults = {
  recipe: { bits: 4, groupSize: 64, symmetric: true, doubleQuant: true, refinements: 0 },
  formats: ['bitsandbytes'],
};

const DEFAULTS: Partial<Record<Recipe['method'], MethodDefaults>> = {
  awq: {
    recipe: { bits: 4, symmetric: false, actOrder: 'none', refinements: 0 },
    formats: ['awq'],
    scaling: 'awq',
  },
  nf4: FOUR_BITS,
  fp4: FOUR_BITS,
  'llm-int8': {
    recipe: { bits: 8, groupSize: -1, symmetric: true, refinements: 0 },
    formats: ['bitsandbytes'],
  },
  ternary: {
    recipe: { bits: 2, groupSize: -1, symmetric: true, refinements: 0 },
    formats: ['gptq'],
  },
  stored: {
    recipe: { refinements: 0 },
    formats: ['compressed-tensors'],
  },
  kquants: {
    recipe: { importance: 'diagonal', refinements: 0 },
    formats: ['gguf:q4_k_m'],
  },
};

/** What a method with settings of its own sets of a spec, in place of the quality; null: the quality does. */
export function defaultsOfMethod(method: Recipe['method']): MethodDefaults | null {
  return DEFAULTS[method] ?? null;
}

/**
 * The same of recipes for kernels that multiply small floats, or integers with rounded activations; null: it is for kernels that multiply with
 * activations as they are.
 */
export function defaultsOfKernels({
  floatType,
  activations,
}: Pick<Recipe, 'floatType' | 'activations'>): MethodDefaults | null {
  const formats: MethodDefaults['formats'] = [floatType === 'log2' ? 'dequantized' : 'compressed-tensors'];
  if (floatType) {
    const fields = recipeOfFloats(floatType);
    // Steps that improve on integer codes have no use there.
    const recipe = {
      ...fields,
      restarts: 0,
      groupRounds: 0,
      ...(fields.bits === 8 && { activations: 'fp8' as const }),
    };
    return { recipe, formats };
  }
  return activations === 'int8' ? { recipe: { bits: 8, groupSize: -1, symmetric: true }, formats } : null;
}
