import { createHash } from 'node:crypto';
import { bytesOf } from '../numbers';
import { dequantize, gridOf, type QuantizedLinear } from '../quantizers';
import type { FloatTensor } from '../spec';
import type { StoredLinear } from './linear-storage';

/** Numbers that are dequantized before they are hashed: they stay in the cache, and are no garbage worth collecting. */
const NUMBERS_AT_ONCE = 1 << 16;

/** `[rows, columns]` in float32: the weight that readers compute. */
export function dequantizeLinear(linear: StoredLinear): FloatTensor {
  if ('data' in linear) return linear;
  return { shape: [linear.rows, linear.columns], data: dequantize(linear) };
}

/**
 * SHA-256 of the dequantized weight as little-endian float32, row-major: what a reader of the checkpoint has to get. It stands
 * in the manifest, so that verification compares a file with what the quantizer meant.
 */
export function weightSha256(linear: QuantizedLinear): string {
  const { rows, columns } = linear;
  const hash = createHash('sha256');
  const read = gridOf(linear).open(linear);
  const rowsAtOnce = Math.max(1, Math.floor(NUMBERS_AT_ONCE / columns));
  const memory = new Float32Array(Math.min(rows, rowsAtOnce) * columns);
  for (let first = 0; first < rows; first += rowsAtOnce) {
    const count = Math.min(rowsAtOnce, rows - first);
    const weights = memory.subarray(0, count * columns);
    read(first, count, weights);
    hash.update(bytesOf(weights));
  }
  return hash.digest('hex');
}
