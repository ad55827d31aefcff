import type { Recipe } from './quantization-spec';

/** Floats of a few bits that weights are rounded to, and how their scales lie. */
export const FLOAT_TYPES = ['fp8', 'fp8-tensor', 'fp8-block', 'mxfp4', 'nvfp4', 'log2'] as const;
export type FloatType = (typeof FLOAT_TYPES)[number];

const FIELDS: Readonly<Record<FloatType, Pick<Recipe, 'bits' | 'groupSize'>>> = {
  fp8: { bits: 8, groupSize: -1 },
  'fp8-tensor': { bits: 8, groupSize: -1 },
  'fp8-block': { bits: 8, groupSize: 128 },
  mxfp4: { bits: 4, groupSize: 32 },
  nvfp4: { bits: 4, groupSize: 16 },
  log2: { bits: 4, groupSize: 32 },
};

/** The fields of a recipe that follow from a type of float: bits of a code, and columns that share a scale. */
export function recipeOfFloats(type: FloatType): Pick<Recipe, 'bits' | 'groupSize' | 'symmetric'> {
  return { ...FIELDS[type], symmetric: true };
}
