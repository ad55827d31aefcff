import { outputEnergy } from './output-energy';
import { subtractProduct } from './subtract-product';

const values = (length: number, seed: number) =>
  Float64Array.from({ length }, (_, i) => ((i * 7919 + seed * 104729) % 23) - 11);

// Small integers: every sum is exact in any order.
test.each([
  [1, 1, 1],
  [3, 3, 128],
  [4, 5, 6],
  [7, 8, 300],
  [2, 9, 0],
])('C -= A Bᵀ of [%i, %i] over %i', (m, n, k) => {
  const [cs, as, bs] = [n + 2, k + 1, k + 3];
  const c = values(5 + m * cs, 1);
  const a = values(1 + m * as, 2);
  const b = values(2 + n * bs, 3);
  const expected = c.slice();
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      for (let p = 0; p < k; p++) {
        const at = 5 + i * cs + j;
        expected[at] = (expected[at] as number) - (a[1 + i * as + p] as number) * (b[2 + j * bs + p] as number);
      }
    }
  }
  const view = (data: Float64Array, offset: number, stride: number) => ({ data, offset, stride });
  subtractProduct(view(c, 5, cs), view(a, 1, as), view(b, 2, bs), m, n, k);
  expect(c).toEqual(expected);
});

test.each([1, 48, 100])('output energy is D H Dᵀ row by row, %i columns', (n) => {
  const rows = 5;
  const d = values(rows * n, 4);
  const half = values(n * n, 5);
  const h = half.map((_, at) => (half[at] as number) + (half[(at % n) * n + Math.floor(at / n)] as number));
  const expected = new Float64Array(rows);
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        const term = (d[r * n + i] as number) * (h[i * n + j] as number) * (d[r * n + j] as number);
        expected[r] = (expected[r] as number) + term;
      }
    }
  }
  expect(outputEnergy(d, h, rows, n)).toEqual(expected);
});
