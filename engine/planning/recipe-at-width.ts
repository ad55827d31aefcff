import { type QuantizationSpec, type Recipe, RecipeSchema, recipeOfQuality } from '../spec';

/**
 * A linear's recipe at another width than `recipe.bits` of the spec: the fields that the quality has set follow the width, the others stay.
 * A field counts as set by the quality when it is what the quality sets at the spec's own width.
 */
export function recipeAtWidth(
  recipe: Recipe,
  bits: Recipe['bits'],
  spec: Pick<QuantizationSpec, 'quality' | 'recipe'>,
): Recipe {
  const fieldsAt = (width: Recipe['bits']): Recipe =>
    // Not an order with mismatches: which linears have one, the plan has decided.
    RecipeSchema.parse(recipeOfQuality(spec.quality, width, 'independent'));
  const [before, after] = [fieldsAt(spec.recipe.bits), fieldsAt(bits)];
  const follows = (field: keyof Recipe) => recipe[field] === before[field];
  // A field that may be missing, may be missing at one of the widths.
  const fields = [...new Set([...Object.keys(recipe), ...Object.keys(after)])] as (keyof Recipe)[];
  const followed = fields.map((field) => [field, follows(field) ? after[field] : recipe[field]] as const);
  return { ...(Object.fromEntries(followed.filter(([, value]) => value !== undefined)) as Recipe), bits };
}
