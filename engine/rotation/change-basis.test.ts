import { changeBasis } from './change-basis';
import { orthogonalBasis } from './orthogonal-basis';

/** x → x Q by the definition: signs, then Sylvester's matrix times the factor. */
function reference(vector: readonly number[], size: number, seed: number): number[] {
  const { signs, factorSize, factor } = orthogonalBasis(size, seed);
  return vector.map((_, to) =>
    vector.reduce((sum, value, from) => {
      const [a, b] = [Math.floor(from / factorSize), Math.floor(to / factorSize)];
      let sylvester = 1;
      for (let bits = a & b; bits !== 0; bits &= bits - 1) sylvester = -sylvester;
      const entry = factor[(from % factorSize) * factorSize + (to % factorSize)] as number;
      return sum + value * (signs[from] as number) * sylvester * entry;
    }, 0),
  );
}

/** @returns the largest difference. */
const distance = (a: ArrayLike<number>, b: readonly number[]) =>
  Math.max(...b.map((value, i) => Math.abs(value - (a[i] as number))));

const values = (count: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(i * 1.7) + (i % 5 === 0 ? 4 : 0));

describe('changeBasis', () => {
  it.each([1, 7, 12, 36, 64, 72, 98, 104])('multiplies rows by Q at size %i', async (size) => {
    const rows = values(3 * size);
    const expected = [0, 1, 2].flatMap((row) => reference([...rows.subarray(row * size, (row + 1) * size)], size, 5));
    await changeBasis(rows, orthogonalBasis(size, 5));
    expect(distance(rows, expected)).toBeLessThan(1e-5);
  });

  it('turns the axis in the middle', async () => {
    const [outer, size, inner] = [2, 12, 21];
    const turned = values(outer * size * inner);
    const before = turned.slice();
    await changeBasis(turned, orthogonalBasis(size, 1), { inner });
    const line = (tensor: Float32Array, o: number, k: number) =>
      Array.from({ length: size }, (_, i) => tensor[(o * size + i) * inner + k] as number);
    for (const [o, k] of [
      [0, 0],
      [0, 20],
      [1, 16],
    ] as const) {
      expect(distance(line(turned, o, k), reference(line(before, o, k), size, 1))).toBeLessThan(1e-5);
    }
  });

  it.each([7, 36, 98, 576])('keeps lengths and angles at size %i', async (size) => {
    const rows = values(2 * size);
    const product = (a: number, b: number) =>
      Array.from({ length: size }, (_, i) => i).reduce(
        (sum, i) => sum + (rows[a * size + i] as number) * (rows[b * size + i] as number),
        0,
      );
    const before = [product(0, 0), product(0, 1), product(1, 1)];
    await changeBasis(rows, orthogonalBasis(size, 3));
    [product(0, 0), product(0, 1), product(1, 1)].forEach((after, i) => {
      expect(Math.abs(after - (before[i] as number))).toBeLessThan(1e-5 * (before[0] as number));
    });
  });

  it('spreads a single outlier evenly', async () => {
    const row = new Float32Array(576);
    row[100] = 24;
    await changeBasis(row, orthogonalBasis(576, 0));
    expect([...row].map((value) => Math.abs(value))).toEqual(new Array(576).fill(1));
  });

  it('refuses what is not whole vectors', async () => {
    await expect(changeBasis(new Float32Array(13), orthogonalBasis(12, 0))).rejects.toThrow('no [any, 12, 1] tensor');
  });

  it('ends when it is aborted', async () => {
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(changeBasis(new Float32Array(1 << 21), orthogonalBasis(64, 0), { signal })).rejects.toThrow('enough');
  });
});
