import type { LinearPlan } from '../../spec';
import { CODES_PER_BLOCK } from '../pack-words';

/** Why a linear cannot be written, and what to do; null when it can. */
export function refuse({ recipe, columns }: LinearPlan): string | null {
  if (recipe === null) return null;
  const { groupSize, method, actOrder } = recipe;
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
