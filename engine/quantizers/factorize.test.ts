import { inverseFactor } from '../kernels/inverse-factor';
import { conditionAtLeast, dampedHessian, factorize } from './factorize';

const identity = (columns: number) => Int32Array.from({ length: columns }, (_, i) => i);

async function conditionOf(values: readonly number[], dead: readonly number[] = []): Promise<number> {
  const columns = Math.sqrt(values.length);
  const task = {
    hessian: Float64Array.from(values),
    columns,
    solveOrder: identity(columns).reverse(),
    dead: Uint8Array.from({ length: columns }, (_, i) => dead[i] ?? 0),
    damping: 1e-12,
  };
  const { factor } = await factorize(task, (damping, floor) => {
    const found = new Float64Array(columns * columns);
    return inverseFactor(dampedHessian(task, damping, floor), found, columns) ? found : null;
  });
  return conditionAtLeast(factor as Float64Array, task);
}

test('the condition of a diagonal matrix is exact; dead columns do not count', async () => {
  const matrix = [4, 0, 0, 0, 0.25, 0, 0, 0, 1];
  expect(await conditionOf(matrix)).toBe(16);
  expect(await conditionOf(matrix, [0, 1, 0])).toBe(4);
});

test.each([0, 0.3, 0.9, 0.999])('of a matrix with correlation %d it is a lower bound', async (correlation) => {
  const [small, large] = [1 - correlation, 1 + correlation];
  const condition = await conditionOf([1, correlation, correlation, 1]);
  expect(condition).toBeLessThanOrEqual((1.001 * large) / small);
  expect(condition).toBeGreaterThanOrEqual(0.999 / (1 - correlation ** 2));
});
