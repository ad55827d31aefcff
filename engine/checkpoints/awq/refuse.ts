import type { LinearPlan } from '../../spec';
import { isHead } from '../model-config';
import { AWQ_BITS, CODES_PER_WORD } from './layout';

/** Why a linear cannot be written, and what to do; null when it can. */
export function refuse({ name, recipe, rows, columns }: LinearPlan): string | null {
  if (recipe === null) return null;
  if (isHead(name)) return 'its readers take the head in 16 bit only. Set keepHead to true.';
  const { bits, groupSize, method, actOrder } = recipe;
  return refuseShape({ rows, columns, bits, groupSize, dynamic: method === 'gptq' && actOrder === 'dynamic' });
}

/** Why these linears cannot be in one checkpoint: config.json has one group size for all. */
export function refuseTogether(linears: readonly LinearPlan[]): string | null {
  const sizes = [...new Set(linears.flatMap(({ recipe }) => recipe?.groupSize ?? []))];
  if (sizes.length < 2) return null;
  return `config.json has one group size for all linears, and these have ${sizes.join(' and ')}. Give them the same, or write the format gptq.`;
}

/** @param dynamic whether groups follow the act-order instead of the columns */
export function refuseShape({
  rows,
  columns,
  bits,
  groupSize,
  dynamic,
}: {
  readonly rows: number;
  readonly columns: number;
  readonly bits: number;
  readonly groupSize: number;
  readonly dynamic: boolean;
}): string | null {
  if (bits !== AWQ_BITS) {
    return `its readers take ${AWQ_BITS} bits, not ${bits}. Set recipe.bits to ${AWQ_BITS}, or write the format gptq or compressed-tensors.`;
  }
  if (dynamic) {
    return 'groups cannot follow the act-order. Set recipe.actOrder to static, or write the format gptq.';
  }
  if (rows % CODES_PER_WORD !== 0) {
    return `${rows} rows are not a multiple of ${CODES_PER_WORD}, which share a word. Keep it in 16 bit (an override with skip).`;
  }
  if (groupSize !== -1 && columns % groupSize !== 0) {
    return `the group size ${groupSize} does not divide the ${columns} columns. Set another recipe.groupSize.`;
  }
  return null;
}
