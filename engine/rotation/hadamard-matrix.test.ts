import { paleyHadamard } from './hadamard-matrix';

describe('paleyHadamard', () => {
  it.each([1, 2, 4, 8, 12, 20, 24, 28, 36, 44, 60, 76, 108, 140])(
    'has orthogonal rows of signs at order %i',
    (order) => {
      const matrix = paleyHadamard(order) as Int8Array;
      expect(matrix).toHaveLength(order * order);
      expect([...new Set(matrix.map(Math.abs))]).toEqual([1]);
      const products = Array.from({ length: order * order }, (_, at) => {
        const [i, j] = [Math.floor(at / order) * order, (at % order) * order];
        let product = 0;
        for (let k = 0; k < order; k++) product += (matrix[i + k] as number) * (matrix[j + k] as number);
        return product;
      });
      expect(products).toEqual(products.map((_, at) => (at % (order + 1) === 0 ? order : 0)));
    },
  );

  it('starts order 12 as Paley does: the squares modulo 11 are 1, 3, 4, 5, 9', () => {
    const matrix = paleyHadamard(12) as Int8Array;
    expect([...matrix.subarray(0, 12)]).toEqual(new Array(12).fill(1));
    // Row of i = 0: the character of -j, and 1 on the diagonal; on the left the border's -1.
    expect([...matrix.subarray(12, 24)]).toEqual([-1, 1, -1, 1, -1, -1, -1, 1, 1, 1, -1, 1]);
  });

  it.each([3, 9, 10, 16, 18, 52, 92])('has none by these constructions at order %i', (order) => {
    expect(paleyHadamard(order)).toBeNull();
  });
});
