type Elements = Float32Array | Uint8Array | Uint16Array | Uint32Array;

/** The transpose of a matrix of so many rows, in memory of its own. Blocks of it at a time: both sides stay in the cache. */
export function transposed<Matrix extends Elements>(matrix: Matrix, rows: number): Matrix {
  const columns = matrix.length / rows;
  const result = new (matrix.constructor as new (length: number) => Matrix)(matrix.length);
  for (let firstRow = 0; firstRow < rows; firstRow += BLOCK) {
    const endRow = Math.min(rows, firstRow + BLOCK);
    for (let firstColumn = 0; firstColumn < columns; firstColumn += BLOCK) {
      const endColumn = Math.min(columns, firstColumn + BLOCK);
      for (let row = firstRow; row < endRow; row++) {
        for (let column = firstColumn; column < endColumn; column++) {
          result[column * rows + row] = matrix[row * columns + column] as number;
        }
      }
    }
  }
  return result;
}

const BLOCK = 32;

/** The same of a stored matrix with elements of 1, 2 or 4 bytes. */
export function transposedBytes(bytes: Uint8Array, rows: number, elementBytes: number): Uint8Array {
  const Words = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[elementBytes];
  if (!Words) throw new RangeError(`Elements of ${elementBytes} bytes cannot be transposed; 1, 2 and 4 can.`);
  // Aligned memory of its own.
  const words = new Words(new Uint8Array(bytes).buffer);
  const result = transposed(words, rows);
  return new Uint8Array(result.buffer);
}
