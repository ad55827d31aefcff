import type { Recipe } from './quantization-spec';

/** Names of sensible combinations of recipe fields, by how much time they may take. */
export const QUALITIES = ['fast', 'balanced', 'best'] as const;
export type Quality = (typeof QUALITIES)[number];

/**
 * The fields of a recipe that a quality sets at a width; what it leaves out has the recipe's default. A field that is given wins over
 * them.
 *
 * - `fast`: scales by search, no refinements.
 * - `balanced`: the defaults.
 * - `best`: refinements until they gain next to nothing.
 */
export function recipeOfQuality(quality: Quality, _bits: Recipe['bits']): Partial<Recipe> {
  return RECIPES[quality];
}

const RECIPES: Readonly<Record<Quality, Partial<Recipe>>> = {
  fast: { scales: 'search', refinements: 0 },
  balanced: {},
  best: { scales: 'search', refinements: 10 },
};
