import { parseQuantizationSpec, type QuantizationSpecInput } from '../spec';
import { planModel } from './plan-model';

async function planned(changes: Partial<QuantizationSpecInput>) {
  const spec = parseQuantizationSpec({
    model: 'demo',
    output: '/tmp/never-written',
    calibration: { samples: 8, sequenceLength: 64 },
    ...changes,
  });
  const { plan, estimate } = await planModel(spec);
  return { plan, refusals: estimate.refusals.map(({ message }) => message), warnings: estimate.warnings };
}

describe('the plan of small floats and rounded inputs', () => {
  it('gives linears that an override names what follows from their type', async () => {
    const overrides = [{ match: '*.down_proj', floatType: 'mxfp4', activations: 'none' }] as const;
    const { plan, refusals } = await planned({ recipe: { floatType: 'fp8' }, overrides: [...overrides] });
    expect(refusals).toEqual([]);
    const linears = plan.blocks.flatMap(({ stages }) => stages.flatMap((stage) => stage.linears));
    for (const { name, recipe } of linears) {
      const expected = name.endsWith('down_proj')
        ? { floatType: 'mxfp4', bits: 4, groupSize: 32 }
        : { floatType: 'fp8', bits: 8, groupSize: -1, activations: 'fp8' };
      expect(recipe).toMatchObject(expected);
      expect(recipe?.activations).toBe('activations' in expected ? 'fp8' : undefined);
    }
  });

  it.each([
    ['a method', { recipe: { method: 'kquants', floatType: 'fp8' } }, 'the method kquants rounds to no floats'],
    [
      'a format',
      { recipe: { floatType: 'fp8' }, formats: ['gguf'] },
      'it holds no weights in fp8. Write the format compressed-tensors',
    ],
    ['powers of two', { recipe: { floatType: 'log2' }, formats: ['compressed-tensors'] }, 'it has no weights in log2'],
    ['other widths', { recipe: { activations: 'int8', bits: 4 } }, 'Set bits to 8 and groupSize to -1'],
    ['nvfp4 inputs of mxfp4', { recipe: { floatType: 'mxfp4', activations: 'nvfp4' } }, 'Set floatType to nvfp4'],
    ['fp8 inputs of integers', { recipe: { activations: 'fp8' } }, 'activations fp8 go with weights in fp8'],
    [
      'static scales of blocks',
      { recipe: { floatType: 'fp8-block', activations: 'fp8-static' } },
      'activations fp8-static go with weights in fp8, fp8-tensor. Set floatType to fp8',
    ],
    ['an average', { recipe: { floatType: 'fp8' }, averageBits: 4 }, 'Leave averageBits out'],
    ['a head', { recipe: { floatType: 'fp8' }, keepHead: false }, 'the input of the head stays as it is'],
    ['a mix of blocks', { recipe: { floatType: 'fp8' }, formats: ['gguf:q4_k_m'] }, 'are two grids'],
  ] as const)('refuses %s, with what to do', async (_, changes, message) => {
    const { refusals } = await planned(changes as Partial<QuantizationSpecInput>);
    expect(refusals).toContainEqual(expect.stringContaining(message));
  });

  it('calibrates for static scales of inputs, by rounding too', async () => {
    const recipe = { method: 'rtn', floatType: 'fp8' } as const;
    expect((await planned({ recipe })).plan.slices).toEqual([]);
    const { plan, refusals } = await planned({ recipe: { ...recipe, activations: 'fp8-static' } });
    expect(refusals).toEqual([]);
    expect(plan.slices.length).toBeGreaterThan(0);
  });

  it('says which formats leave activations as they are, and what smoothing is for', async () => {
    const both = await planned({ recipe: { activations: 'int8' }, formats: ['gptq', 'compressed-tensors'] });
    const said = both.warnings.filter((warning) => warning.includes('leave activations as they are'));
    expect(said).toEqual([expect.stringMatching(/^Format gptq: it holds weights alone/)]);
    const { warnings } = await planned({ scaling: 'smoothquant' });
    expect(warnings).toContainEqual(expect.stringContaining('smoothquant makes inputs easier to quantize'));
  });
});
