import { recipeAtWidth } from '../planning/recipe-at-width';
import { type LinearToQuantize, quantizeLinear } from '../quantizers';
import type { QuantizationSpec, Recipe, WidthErrors } from '../spec';

export interface LinearToMeasure extends Omit<LinearToQuantize, 'name' | 'recipe'> {
  readonly name: string;
  /** One of each width. */
  readonly recipes: readonly Recipe[];
}

/**
 * How large the error of one linear is at each width: quantized with its recipe, but for refinements, which cost most of the time
 * and change little about which linear needs more bits (docs/adr/0016).
 *
 * @throws as quantizeLinear.
 */
export async function measureWidths({ recipes, ...linear }: LinearToMeasure): Promise<WidthErrors> {
  const { name, rows, columns } = linear;
  const errors: WidthErrors['errors'][number][] = [];
  for (const recipe of recipes) {
    const { report } = await quantizeLinear({ ...linear, recipe });
    errors.push({ bits: recipe.bits, error: report.relativeError ?? report.relativeWeightError });
  }
  return { name, weights: rows * columns, errors };
}

/** The recipes that a linear is measured with. */
export function recipesToMeasure(
  recipe: Recipe,
  spec: Pick<QuantizationSpec, 'quality' | 'recipe' | 'mixedWidths'>,
): Recipe[] {
  const unrefined = { refinements: 0, restarts: 0, groupRounds: 0 };
  const widths = [...spec.mixedWidths].sort((a, b) => a - b);
  return widths.map((bits) => {
    const { learnedRounding, refinementDamping, ...others } = recipeAtWidth(recipe, bits, spec);
    return { ...others, ...unrefined };
  });
}
