import { QUALITIES, recipeOfQuality } from './quality';
import { parseQuantizationSpec, RecipeSchema } from './quantization-spec';

const parse = (fields: object) => parseQuantizationSpec({ model: 'demo', output: 'out', ...fields });

describe('the quality of a spec', () => {
  it('sets the fields of the recipe that are not given', () => {
    expect(parse({ quality: 'fast' }).recipe).toEqual({
      ...RecipeSchema.parse({}),
      ...recipeOfQuality('fast', 4, 'stage'),
    });
    expect(parse({ quality: 'fast', recipe: { bits: 3 } }).recipe).toMatchObject({ bits: 3, refinements: 0 });
  });

  it('yields to fields that are given', () => {
    expect(parse({ quality: 'fast', recipe: { refinements: 2 } }).recipe.refinements).toBe(2);
  });

  it('makes up for a mismatch at its best, where there is something to estimate it from and something to gain', () => {
    expect(parse({ quality: 'best' }).recipe.mismatch).toBe(0.5);
    expect(parse({ quality: 'best', recipe: { mismatch: 0 } }).recipe.mismatch).toBe(0);
    for (const other of [{ order: 'layer' }, { order: 'independent' }, { recipe: { bits: 8 } }]) {
      expect(parse({ quality: 'best', ...other }).recipe).not.toHaveProperty('mismatch');
    }
    for (const quality of ['fast', 'balanced']) {
      expect(parse({ quality }).recipe).not.toHaveProperty('mismatch');
      expect(parse({ quality, recipe: { mismatch: 1 } }).recipe.mismatch).toBe(1);
    }
  });

  it('is balanced where none is named', () => {
    expect(parse({})).toEqual(parse({ quality: 'balanced' }));
  });

  it.each(QUALITIES)('is resolved once: a parsed spec stays what it is (%s)', (quality) => {
    const spec = parse({ quality, recipe: { bits: 2, symmetric: false } });
    expect(parseQuantizationSpec(spec)).toEqual(spec);
  });

  it('writes zero points where GPTQModel reads them, unless told otherwise', () => {
    expect(parse({ recipe: { bits: 4 } }).formats).toEqual(['gptq']);
    expect(parse({ recipe: { symmetric: false } }).formats).toEqual(['gptq_v2']);
    expect(parse({ quality: 'best' }).formats).toEqual(['gptq_v2']);
    expect(parse({ quality: 'best', formats: ['gptq'] }).formats).toEqual(['gptq']);
  });

  it('says what is wrong, as without it', () => {
    expect(() => parse({ quality: 'good' })).toThrow(/quality/);
    expect(() => parse({ quality: 'best', recipe: { bits: 7 } })).toThrow(/recipe\.bits/);
    expect(() => parse({ quality: 'best', recipe: 4 })).toThrow(/recipe/);
    expect(() => parseQuantizationSpec(null)).toThrow(/not valid/);
  });
});
