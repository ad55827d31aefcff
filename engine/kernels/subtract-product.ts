/** A row-major matrix inside a larger array: element (i, j) is `data[offset + i * stride + j]`. */
export interface MatrixView {
  readonly data: Float64Array;
  readonly offset: number;
  readonly stride: number;
}

/** Inner dimension that is worked on at a time, so that the panel of B stays in the second-level cache. */
const DEPTH = 128;

/**
 * `C -= A Bᵀ`, with C `[m, n]`, A `[m, k]`, B `[n, k]`.
 *
 * The one matrix product of the solver: with B transposed every inner loop runs along contiguous memory. Each element of C is
 * the same sequence of operations whatever m and n are, so that splitting rows between workers changes no bit.
 */
export function subtractProduct(c: MatrixView, a: MatrixView, b: MatrixView, m: number, n: number, k: number): void {
  const { data: z, offset: zOffset, stride: zs } = c;
  const { data: x, offset: xOffset, stride: xs } = a;
  const { data: y, offset: yOffset, stride: ys } = b;
  for (let start = 0; start < k; start += DEPTH) {
    const depth = Math.min(DEPTH, k - start);
    const x0 = xOffset + start;
    const y0 = yOffset + start;
    let i = 0;
    for (; i + 3 <= m; i += 3) {
      let j = 0;
      for (; j + 3 <= n; j += 3) tile(z, zOffset + i * zs + j, zs, x, x0 + i * xs, xs, y, y0 + j * ys, ys, depth);
      for (; j < n; j++) {
        for (let row = i; row < i + 3; row++)
          single(z, zOffset + row * zs + j, x, x0 + row * xs, y, y0 + j * ys, depth);
      }
    }
    for (; i < m; i++) {
      for (let j = 0; j < n; j++) single(z, zOffset + i * zs + j, x, x0 + i * xs, y, y0 + j * ys, depth);
    }
  }
}

/** Nine sums at once: three rows of A (x) against three of B (y), each value loaded once for three products. */
function tile(
  z: Float64Array,
  z0: number,
  zs: number,
  x: Float64Array,
  x0: number,
  xs: number,
  y: Float64Array,
  y0: number,
  ys: number,
  depth: number,
): void {
  const x1 = x0 + xs;
  const x2 = x1 + xs;
  const y1 = y0 + ys;
  const y2 = y1 + ys;
  let s00 = 0;
  let s01 = 0;
  let s02 = 0;
  let s10 = 0;
  let s11 = 0;
  let s12 = 0;
  let s20 = 0;
  let s21 = 0;
  let s22 = 0;
  for (let p = 0; p < depth; p++) {
    const a0 = x[x0 + p] as number;
    const a1 = x[x1 + p] as number;
    const a2 = x[x2 + p] as number;
    const b0 = y[y0 + p] as number;
    s00 += a0 * b0;
    s10 += a1 * b0;
    s20 += a2 * b0;
    const b1 = y[y1 + p] as number;
    s01 += a0 * b1;
    s11 += a1 * b1;
    s21 += a2 * b1;
    const b2 = y[y2 + p] as number;
    s02 += a0 * b2;
    s12 += a1 * b2;
    s22 += a2 * b2;
  }
  const z1 = z0 + zs;
  const z2 = z1 + zs;
  z[z0] = (z[z0] as number) - s00;
  z[z0 + 1] = (z[z0 + 1] as number) - s01;
  z[z0 + 2] = (z[z0 + 2] as number) - s02;
  z[z1] = (z[z1] as number) - s10;
  z[z1 + 1] = (z[z1 + 1] as number) - s11;
  z[z1 + 2] = (z[z1 + 2] as number) - s12;
  z[z2] = (z[z2] as number) - s20;
  z[z2 + 1] = (z[z2 + 1] as number) - s21;
  z[z2 + 2] = (z[z2 + 2] as number) - s22;
}

function single(
  z: Float64Array,
  z0: number,
  x: Float64Array,
  x0: number,
  y: Float64Array,
  y0: number,
  depth: number,
): void {
  let sum = 0;
  for (let p = 0; p < depth; p++) sum += (x[x0 + p] as number) * (y[y0 + p] as number);
  z[z0] = (z[z0] as number) - sum;
}
