/**
 * GGUF's `llama` turns neighbouring rows of a head against each other in its rotary embedding, safetensors have the halves of a
 * head instead. So the rows of q and k are put in another order (llama.cpp, conversion/llama.py, `permute`).
 *
 * @returns `[rows]`: which row of the source stands at this row of the file.
 */
export function rotaryRowOrder(rows: number, heads: number): Int32Array {
  const headSize = rows / heads;
  return Int32Array.from({ length: rows }, (_, row) => {
    const within = row % headSize;
    return row - within + (within % 2) * (headSize / 2) + Math.floor(within / 2);
  });
}

/** The inverse: which row of the file stands at this row of the source. */
export function invertRowOrder(order: Int32Array): Int32Array {
  const inverse = new Int32Array(order.length);
  for (let row = 0; row < order.length; row++) inverse[order[row] as number] = row;
  return inverse;
}

/** Rows of `rowBytes` in another order. Blocks are within a row, so this holds for every block type. */
export function reorderRows(bytes: Uint8Array, order: Int32Array): Uint8Array {
  const rowBytes = bytes.length / order.length;
  const reordered = new Uint8Array(bytes.length);
  for (let row = 0; row < order.length; row++) {
    const from = (order[row] as number) * rowBytes;
    reordered.set(bytes.subarray(from, from + rowBytes), row * rowBytes);
  }
  return reordered;
}
