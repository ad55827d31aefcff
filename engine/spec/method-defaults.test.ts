import { parseQuantizationSpec } from './quantization-spec';

const parse = (input: object) => parseQuantizationSpec({ model: 'm', output: 'o', ...input });

describe('a spec with the method awq', () => {
  it('has zero points, scaled channels and the format awq', () => {
    const { recipe, formats, scaling } = parse({ recipe: { method: 'awq' } });
    expect(recipe).toMatchObject({ bits: 4, groupSize: 128, symmetric: false, scales: 'search', refinements: 0 });
    expect([formats, scaling]).toEqual([['awq'], 'awq']);
  });

  it('keeps what is given', () => {
    const given = { recipe: { method: 'awq', symmetric: true }, formats: ['gptq', 'gguf'], scaling: 'none' };
    const { recipe, formats, scaling } = parse(given);
    expect([recipe.symmetric, formats, scaling]).toEqual([true, ['gptq', 'gguf'], 'none']);
  });

  it('stays what it is when it is parsed again', () => {
    const spec = parse({ recipe: { method: 'awq' } });
    expect(parseQuantizationSpec(spec)).toEqual(spec);
  });
});

it('other methods scale no channels unless asked', () => {
  expect(parse({}).scaling).toBe('none');
  expect(parse({ scaling: 'awq' })).toMatchObject({ scaling: 'awq', recipe: { method: 'gptq' }, formats: ['gptq'] });
});
