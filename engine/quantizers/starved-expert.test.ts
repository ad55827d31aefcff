import { RecipeSchema } from '../spec';
import { dampingForTokens } from './damping-for-tokens';
import { quantizeLinear } from './quantize-linear';

const [rows, columns] = [4, 32];
const weight = Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * i));
const recipe = RecipeSchema.parse({ groupSize: 32, refinements: 0 });

/** Mean of x xᵀ over so many tokens. */
function hessianOf(tokens: number): Float32Array {
  const hessian = new Float32Array(columns * columns);
  for (let t = 0; t < tokens; t++) {
    const x = Array.from({ length: columns }, (_, i) => Math.cos((t + 1) * (i + 2) * 0.7));
    x.forEach((a, i) => {
      for (const [j, b] of x.entries())
        hessian[i * columns + j] = (hessian[i * columns + j] as number) + (a * b) / tokens;
    });
  }
  return hessian;
}

const quantize = (tokens: number, given: { tokens?: number } = { tokens }) =>
  quantizeLinear({ weight, rows, columns, hessian: hessianOf(tokens), ...given, recipe, minimumZero: 0 });

describe('a linear of an expert', () => {
  it.each([
    [32, 0.01],
    [8, 0.04],
    [1, 0.32],
    [0, 0.32],
  ])('that %i tokens reached is damped by %d', (tokens, damping) => {
    expect(dampingForTokens(0.01, 32, tokens)).toBeCloseTo(damping, 12);
  });

  it('is never damped by more than the mean of the diagonal', () => {
    expect(dampingForTokens(0.5, 4096, 3)).toBe(1);
  });

  it('says which tokens it saw and how it was damped', async () => {
    expect((await quantize(8)).report).toMatchObject({ tokens: 8, rung: 'more-damping', damping: 0.04 });
    expect((await quantize(64)).report).toMatchObject({ tokens: 64, rung: 'as-asked', damping: 0.01 });
    expect((await quantize(64, {})).report).not.toHaveProperty('tokens');
  });

  it('that no token reached is rounded to nearest', async () => {
    const { report, linear } = await quantize(0);
    expect(report).toMatchObject({ tokens: 0, rung: 'round-to-nearest', relativeError: null });
    const nearest = await quantizeLinear({
      ...{ weight, rows, columns, hessian: null, minimumZero: 0 as const },
      recipe: { ...recipe, method: 'rtn' },
    });
    expect(linear).toEqual(nearest.linear);
  });
});
