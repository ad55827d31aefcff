import { createHash } from 'node:crypto';
import { bytesOf } from '../numbers';
import { dequantize, type QuantizedLinear } from '../quantizers';
import type { FloatTensor } from '../spec';

/** Numbers that are dequantized before they are hashed: they stay in the cache, and are no garbage worth collecting. */
const NUMBERS_AT_ONCE = 1 << 16;

/** `[rows, columns]`: `(code - zero) * scale` in float32. */
export function dequantizeLinear(linear: QuantizedLinear): FloatTensor {
  return { shape: [linear.rows, linear.columns], data: dequantize(linear) };
}

/**
 * SHA-256 of the dequantized weight as little-endian float32, row-major: what a reader of the checkpoint has to get. It stands
 * in the manifest, so that verification compares a file with what the quantizer meant.
 */
export function weightSha256(linear: QuantizedLinear): string {
  const { rows, columns, codes, scales, zeros } = linear;
  const hash = createHash('sha256');
  const groups = scales.length / rows;
  const rowsAtOnce = Math.max(1, Math.floor(NUMBERS_AT_ONCE / columns));
  const memory = new Float32Array(Math.min(rows, rowsAtOnce) * columns);
  for (let first = 0; first < rows; first += rowsAtOnce) {
    const last = Math.min(first + rowsAtOnce, rows);
    const part = {
      ...linear,
      rows: last - first,
      codes: codes.subarray(first * columns, last * columns),
      scales: scales.subarray(first * groups, last * groups),
      zeros: zeros.subarray(first * groups, last * groups),
    };
    hash.update(bytesOf(dequantize(part, memory.subarray(0, (last - first) * columns))));
  }
  return hash.digest('hex');
}
