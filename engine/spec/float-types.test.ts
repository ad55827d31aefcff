import { parseQuantizationSpec, type QuantizationSpecInput } from '.';

function parsed(changes: Partial<QuantizationSpecInput>) {
  return parseQuantizationSpec({ model: 'demo', output: 'out', ...changes });
}

describe('a specification of small floats', () => {
  it.each([
    ['fp8', { bits: 8, groupSize: -1, activations: 'fp8' }],
    ['fp8-block', { bits: 8, groupSize: 128, activations: 'fp8' }],
    ['mxfp4', { bits: 4, groupSize: 32 }],
    ['NVFP4', { bits: 4, groupSize: 16 }],
  ] as const)('has what follows from %s, whatever else is asked for', (floatType, fields) => {
    const { recipe, formats } = parsed({ recipe: { floatType, groupSize: 64, symmetric: false } as object });
    expect(recipe).toMatchObject({ ...fields, symmetric: true, floatType: floatType.toLowerCase() });
    expect(formats).toEqual(['compressed-tensors']);
  });

  it('keeps inputs as they are where it says so, and powers of two have no format of a runtime', () => {
    expect(parsed({ recipe: { floatType: 'fp8', activations: 'none' } }).recipe.activations).toBe('none');
    expect(parsed({ recipe: { floatType: 'log2' } }).formats).toEqual(['dequantized']);
  });

  it('is not changed when it is parsed again', () => {
    for (const recipe of [
      { floatType: 'fp8' },
      { floatType: 'fp8', activations: 'none' },
      { activations: 'int8' },
    ] as const) {
      const once = parsed({ recipe });
      expect(parseQuantizationSpec(once)).toEqual(once);
    }
  });
});

describe('a specification of int8 activations', () => {
  it('is for 8 bits and one scale per row, where nothing else is given', () => {
    const { recipe, formats } = parsed({ recipe: { activations: 'int8' } });
    expect(recipe).toMatchObject({ method: 'gptq', bits: 8, groupSize: -1, symmetric: true, activations: 'int8' });
    expect(recipe.mismatch).toBeUndefined();
    expect(formats).toEqual(['compressed-tensors']);
    expect(parsed({ recipe: { activations: 'int8', bits: 4 } }).recipe.bits).toBe(4);
  });
});
