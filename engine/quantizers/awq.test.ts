import { RecipeSchema } from '../spec';
import { quantizeLinear } from './quantize-linear';

const recipe = RecipeSchema.parse({ method: 'awq', bits: 2, groupSize: 16, symmetric: false, refinements: 3 });

/** One row of 16: a large weight that the input never meets, which a range from the extremes would spend its codes on. */
const weight = Float32Array.from({ length: 16 }, (_, i) => (i === 3 ? 8 : ((i * 7) % 5) / 2 - 1));
const hessian = Float64Array.from({ length: 256 }, (_, at) => (at % 17 === 0 ? (at === 3 * 17 ? 1e-6 : 1) : 0));

describe.each(['native', 'typescript'] as const)('the method awq (%s kernels)', (kernels) => {
  const problem = { weight, rows: 1, columns: 16, minimumZero: 0, kernels } as const;

  it('clips ranges where the output does not see it', async () => {
    const { report } = await quantizeLinear({ ...problem, hessian, recipe });
    const unclipped = await quantizeLinear({ ...problem, hessian, recipe: { ...recipe, scales: 'minmax' } });
    expect(report.rung).toBe('not-needed');
    expect(report.relativeError as number).toBeLessThan(0.7 * (unclipped.report.relativeError as number));
    // The steps of a range from -1 to 8 are 3 wide, so that all weights that are seen become 0.
    expect(unclipped.report.relativeError).toBeCloseTo(1, 2);
  });

  it('rounds, and improves on nothing: refinements of the recipe do not count', async () => {
    const { report } = await quantizeLinear({ ...problem, hessian, recipe });
    expect(report.relativeErrorBeforeRefinement).toBe(report.relativeError);
  });

  it('does not run without a Hessian', async () => {
    await expect(quantizeLinear({ ...problem, hessian: null, recipe })).rejects.toThrow(
      'The method awq needs the Hessian',
    );
  });
});
