import { cholesky, inverseFactor } from './inverse-factor';

/** A positive definite matrix: a Gram matrix of pseudo-random vectors, with an exact recipe. */
function gram(n: number): Float64Array {
  const x = Float64Array.from({ length: n * n }, (_, i) => Math.sin(i * i * 0.7 + i));
  const h = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      for (let k = 0; k < n; k++)
        h[i * n + j] = (h[i * n + j] as number) + ((x[i * n + k] as number) * (x[j * n + k] as number)) / n;
    }
    h[i * n + i] = (h[i * n + i] as number) + 0.1;
  }
  return h;
}

test('Cholesky of the textbook matrix', () => {
  // [[4, 12, -16], [12, 37, -43], [-16, -43, 98]] = L Lᵀ with L = [[2, 0, 0], [6, 1, 0], [-8, 5, 3]]
  const a = Float64Array.of(4, 12, -16, 12, 37, -43, -16, -43, 98);
  expect(cholesky(a, 3)).toBe(true);
  expect([0, 3, 4, 6, 7, 8].map((i) => a[i])).toEqual([2, 6, 1, -8, 5, 3]);
});

test('factor of an inverse by hand: H⁻¹ = Uᵀ U', () => {
  // H = [[2, 1], [1, 2]], H⁻¹ = [[2, -1], [-1, 2]] / 3; U = [[√(2/3), -√(1/6)], [0, √(1/2)]]
  const factor = new Float64Array(4);
  expect(inverseFactor(Float64Array.of(2, 1, 1, 2), factor, 2)).toBe(true);
  const expected = [Math.sqrt(2 / 3), 0, -Math.sqrt(1 / 6), Math.sqrt(1 / 2)];
  expected.forEach((value, i) => {
    expect(factor[i]).toBeCloseTo(value, 14);
  });
});

test.each([1, 2, 47, 48, 49, 97, 150])('Uᵀ U H is the identity, %i columns', (n) => {
  const h = gram(n);
  const factor = new Float64Array(n * n);
  expect(inverseFactor(h.slice(), factor, n)).toBe(true);
  // Uᵀ is lower triangular with a positive diagonal, so (Uᵀ U)(i, k) sums over j <= min(i, k).
  const ut = (i: number, j: number) => factor[i * n + j] as number;
  let worst = 0;
  for (let i = 0; i < n; i++) {
    expect(ut(i, i)).toBeGreaterThan(0);
    const inverseRow = Array.from({ length: n }, (_, k) => {
      let sum = 0;
      for (let j = 0; j <= Math.min(i, k); j++) sum += ut(i, j) * ut(k, j);
      return sum;
    });
    for (let c = 0; c < n; c++) {
      const product = inverseRow.reduce((sum, x, k) => sum + x * (h[k * n + c] as number), 0);
      worst = Math.max(worst, Math.abs(product - (i === c ? 1 : 0)));
    }
    for (let j = i + 1; j < n; j++) expect(ut(i, j)).toBe(0);
  }
  expect(worst).toBeLessThan(1e-11);
});

test.each([
  ['indefinite', [1, 2, 2, 1]],
  ['singular', [1, 1, 1, 1]],
  ['zero', [0, 0, 0, 0]],
  ['infinite', [Number.POSITIVE_INFINITY, 0, 0, 1]],
  ['not a number', [1, 0, 0, Number.NaN]],
])('a matrix that is %s is refused', (_, values) => {
  expect(inverseFactor(Float64Array.from(values), new Float64Array(4), 2)).toBe(false);
});
