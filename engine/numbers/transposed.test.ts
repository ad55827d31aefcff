import { transposed, transposedBytes } from './transposed';

describe('the transpose of a matrix', () => {
  it('has element [i, j] at [j, i], also where it is larger than a block', () => {
    const [rows, columns] = [45, 70];
    const matrix = Float32Array.from({ length: rows * columns }, (_, i) => i);
    const result = transposed(matrix, rows);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        expect(result[column * rows + row]).toBe(row * columns + column);
      }
    }
  });

  it.each([1, 2, 4])('moves elements of %i bytes whole, wherever they lie', (size) => {
    const elements = [...'abcdef'].map((letter) => Buffer.from(letter.repeat(size)));
    const unaligned = Buffer.concat([Buffer.from('-'), ...elements]).subarray(1);
    const found = Buffer.from(transposedBytes(unaligned, 2, size)).toString();
    expect(found).toBe([...'adbecf'].map((letter) => letter.repeat(size)).join(''));
  });

  it('refuses elements of another size', () => {
    expect(() => transposedBytes(new Uint8Array(16), 1, 8)).toThrow(/8 bytes/);
  });
});
