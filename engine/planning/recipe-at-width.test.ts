import { parseQuantizationSpec } from '../spec';
import { recipeAtWidth } from './recipe-at-width';

const specOf = (fields: object) => parseQuantizationSpec({ model: 'm', output: 'o', ...fields });

describe('a recipe at another width', () => {
  it('is what the quality sets at that width', () => {
    const spec = specOf({ quality: 'best' });
    for (const bits of [2, 3, 8] as const) {
      const { mismatch: _, ...recipe } = specOf({ quality: 'best', recipe: { bits } }).recipe;
      expect(recipeAtWidth(spec.recipe, bits, spec)).toMatchObject(recipe);
    }
  });

  it('has a mismatch where it had one: the plan has decided that', () => {
    const spec = specOf({ recipe: { mismatch: 1 } });
    const { mismatch: _, ...without } = spec.recipe;
    for (const bits of [2, 8] as const) {
      expect(recipeAtWidth(spec.recipe, bits, spec).mismatch).toBe(1);
      expect(recipeAtWidth(without, bits, spec)).not.toHaveProperty('mismatch');
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
