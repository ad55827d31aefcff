import { createHash } from 'node:crypto';
import type { QuantizedLinear } from '../quantizers/quantized-linear';
import type { FloatTensor } from '../spec';

/** `[rows, columns]`: `(code - zero) * scale`. Exact in float32, since a code has 8 bits and a scale 11 significant ones. */
export function dequantizeLinear(linear: QuantizedLinear): FloatTensor {
  const data = new Float32Array(linear.rows * linear.columns);
  for (let row = 0; row < linear.rows; row++) {
    dequantizeRow(linear, row, data.subarray(row * linear.columns, (row + 1) * linear.columns));
  }
  return { shape: [linear.rows, linear.columns], data };
}

/**
 * SHA-256 of the dequantized weight as little-endian float32, row-major: what a reader of the checkpoint has to get. It stands
 * in the manifest, so that verification compares a file with what the quantizer meant.
 */
export function weightSha256(linear: QuantizedLinear): string {
  const hash = createHash('sha256');
  const row = new Float32Array(linear.columns);
  for (let index = 0; index < linear.rows; index++) {
    dequantizeRow(linear, index, row);
    hash.update(new Uint8Array(row.buffer));
  }
  return hash.digest('hex');
}

function dequantizeRow(linear: QuantizedLinear, row: number, into: Float32Array): void {
  const { columns, codes, scales, zeros, groupOf } = linear;
  const firstGroup = row * Math.ceil(columns / linear.groupSize);
  for (let column = 0; column < columns; column++) {
    const at = firstGroup + (groupOf[column] as number);
    into[column] = ((codes[row * columns + column] as number) - (zeros[at] as number)) * (scales[at] as number);
  }
}
