import type { LinearPlan } from '../../spec';
import { isHead } from '../model-config';
import { CODES_PER_BLOCK } from '../pack-words';
import { linearLayout, PACK_QUANTIZED } from './layout';
import { FLOAT_ARGS, inputArgs } from './quantization-args';

/** Why a linear cannot be written, and what to do; null when it can. */
export function refuse({ name, recipe, columns }: LinearPlan): string | null {
  if (recipe === null) return null;
  const { groupSize, method, actOrder } = recipe;
  if (recipe.floatType && !FLOAT_ARGS[recipe.floatType]) {
    return `it has no weights in ${recipe.floatType}. Write the format dequantized, or leave floatType out.`;
  }
  const inputs = inputArgs(recipe);
  if (inputs && isHead(name)) {
    return 'the input of the head stays as it is. Set activations to none for it (an override), or keep it in 16 bit.';
  }
  if (inputs?.group_size && recipe.bits === 8 && columns % inputs.group_size !== 0) {
    return `its inputs are quantized in groups of ${inputs.group_size}, which do not divide the ${columns} columns. Use floatType fp8, or an override for this linear.`;
  }
  if (recipe.floatType && recipe.bits === 4 && columns % groupSize !== 0) {
    return `${recipe.floatType} has groups of ${groupSize}, which do not divide the ${columns} columns. Keep it in 16 bit (an override with skip).`;
  }
  if (linearLayout(recipe) !== PACK_QUANTIZED) return null;
  return refuseShape({ columns, groupSize, dynamic: method === 'gptq' && actOrder === 'dynamic' });
}

/** @param dynamic whether groups follow the act-order instead of the columns */
export function refuseShape({
  columns,
  groupSize,
  dynamic,
}: {
  readonly columns: number;
  readonly groupSize: number;
  readonly dynamic: boolean;
}): string | null {
  if (dynamic) {
    return 'compressed-tensors 0.19 no longer reads groups that follow the act-order. Set recipe.actOrder to static, or write the format gptq.';
  }
  if (columns % CODES_PER_BLOCK !== 0) {
    return `${columns} columns are not a multiple of 32, which is what words hold without a gap. Keep it in 16 bit (an override with skip).`;
  }
  if (groupSize !== -1 && columns % groupSize !== 0) {
    return `the group size ${groupSize} does not divide the ${columns} columns, which compressed-tensors needs. Set another recipe.groupSize.`;
  }
  return null;
}
