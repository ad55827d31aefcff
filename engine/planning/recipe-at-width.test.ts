import { parseQuantizationSpec, recipeOfQuality } from '../spec';
import { recipeAtWidth } from './recipe-at-width';

const specOf = (fields: object) => parseQuantizationSpec({ model: 'm', output: 'o', ...fields });

describe('a recipe at another width', () => {
  it('is what the quality sets at that width', () => {
    const spec = specOf({ quality: 'best' });
    for (const bits of [2, 3, 8] as const) {
      const { recipe } = specOf({ quality: 'best', recipe: { bits } });
      expect(recipeAtWidth(spec.recipe, bits, spec)).toEqual(recipe);
      expect(recipeAtWidth(spec.recipe, bits, spec)).toMatchObject(recipeOfQuality('best', bits));
    }
  });

  it('has no fields that nobody has set', () => {
    const spec = specOf({});
    expect(Object.keys(recipeAtWidth(spec.recipe, 2, spec))).toEqual(Object.keys(spec.recipe));
  });

  it('keeps what was given', () => {
    const spec = specOf({
      recipe: { groupSize: 32, refinements: 7, damping: 0.05, learnedRounding: 50, refinementDamping: 0.03 },
    });
    expect(recipeAtWidth(spec.recipe, 2, spec)).toMatchObject({
      bits: 2,
      groupSize: 32,
      refinements: 7,
      damping: 0.05,
      learnedRounding: 50,
      refinementDamping: 0.03,
    });
  });
});
