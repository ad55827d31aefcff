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

  it('makes up for a mismatch where there is something to estimate it from and something to gain', () => {
    for (const quality of ['balanced', 'best']) {
      expect(parse({ quality }).recipe.mismatch).toBe(0.5);
      expect(parse({ quality, recipe: { mismatch: 0 } }).recipe.mismatch).toBe(0);
      for (const other of [{ order: 'layer' }, { order: 'independent' }, { recipe: { bits: 8 } }]) {
        expect(parse({ quality, ...other }).recipe).not.toHaveProperty('mismatch');
      }
    }
    expect(parse({ quality: 'fast' }).recipe).not.toHaveProperty('mismatch');
  });

  it('estimates it on a part of the calibration set, at its best on all of it', () => {
    expect(parse({}).calibration.originalShare).toBe(1 / 16);
    expect(parse({ quality: 'best' }).calibration.originalShare).toBe(1);
    expect(parse({ quality: 'best', calibration: { originalShare: 0.5 } }).calibration.originalShare).toBe(0.5);
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
