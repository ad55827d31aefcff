import { subtractProduct } from './subtract-product';

/** Columns of a panel; smaller panels spend less in the unblocked loops, larger ones less in the product's edges. */
const PANEL = 48;

/**
 * Cholesky factor of a symmetric matrix: A = L Lᵀ.
 *
 * @param a `[n, n]`. Its lower triangle is read, and replaced by L. What is above the diagonal is left undefined.
 * @returns false when A is not positive definite (a pivot is not a positive finite number); `a` is then undefined.
 */
export function cholesky(a: Float64Array, n: number): boolean {
  for (let start = 0; start < n; start += PANEL) {
    const stop = Math.min(start + PANEL, n);
    // A[start.., start..stop] -= L[start.., 0..start] L[start..stop, 0..start]ᵀ
    const panel = { data: a, offset: start * n + start, stride: n };
    const done = { data: a, offset: start * n, stride: n };
    subtractProduct(panel, done, done, n - start, stop - start, start);
    for (let i = start; i < n; i++) {
      const last = Math.min(i, stop - 1);
      for (let j = start; j <= last; j++) {
        let sum = a[i * n + j] as number;
        for (let k = start; k < j; k++) sum -= (a[i * n + k] as number) * (a[j * n + k] as number);
        if (i > j) {
          a[i * n + j] = sum / (a[j * n + j] as number);
        } else {
          if (!(sum > 0 && sum < Number.POSITIVE_INFINITY)) return false;
          a[i * n + i] = Math.sqrt(sum);
        }
      }
    }
  }
  return true;
}

/**
 * Transposed inverse of a triangular matrix: Y = L⁻ᵀ, upper triangular.
 *
 * @param l `[n, n]`, lower triangle with a positive diagonal; nothing above the diagonal is read.
 * @param y `[n, n]`, written whole.
 */
export function invertTriangle(l: Float64Array, y: Float64Array, n: number): void {
  y.fill(0);
  for (let j = 0; j < n; j++) y[j * n + j] = 1;
  for (let start = 0; start < n; start += PANEL) {
    const stop = Math.min(start + PANEL, n);
    for (let first = 0; first < start; first += PANEL) {
      // Y[first.., start..stop] -= Y[first.., first..start] L[start..stop, first..start]ᵀ
      subtractProduct(
        { data: y, offset: first * n + start, stride: n },
        { data: y, offset: first * n + first, stride: n },
        { data: l, offset: start * n + first, stride: n },
        PANEL,
        stop - start,
        start - first,
      );
    }
    for (let j = 0; j < stop; j++) {
      for (let i = Math.max(j, start); i < stop; i++) {
        let sum = y[j * n + i] as number;
        for (let k = Math.max(j, start); k < i; k++) sum -= (y[j * n + k] as number) * (l[i * n + k] as number);
        y[j * n + i] = sum / (l[i * n + i] as number);
      }
    }
  }
}

/**
 * Upper Cholesky factor U of the inverse Hessian, H⁻¹ = Uᵀ U (Frantar et al. 2022, Algorithm 1), stored transposed.
 *
 * The inverse is never formed: with J the reversal of rows, J H J = L Lᵀ gives U = J L⁻¹ J. Half the work of factorizing, inverting
 * and factorizing again, and one rounding less. J M J is M's flat array reversed.
 *
 * @param hessian `[n, n]`, symmetric. Destroyed.
 * @param factor `[n, n]`, receives Uᵀ (lower triangular; zeros above the diagonal).
 * @returns false when the Hessian is not positive definite; `factor` is then undefined.
 */
export function inverseFactor(hessian: Float64Array, factor: Float64Array, n: number): boolean {
  hessian.reverse();
  if (!cholesky(hessian, n)) return false;
  invertTriangle(hessian, factor, n);
  factor.reverse();
  return true;
}
