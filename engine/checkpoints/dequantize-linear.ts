import { createHash } from 'node:crypto';
import { bytesOf } from '../numbers';
import { dequantize, type QuantizedLinear } from '../quantizers';
import type { FloatTensor } from '../spec';

/** `[rows, columns]`: `(code - zero) * scale` in float32. */
export function dequantizeLinear(linear: QuantizedLinear): FloatTensor {
  return { shape: [linear.rows, linear.columns], data: dequantize(linear) };
}

/**
 * SHA-256 of the dequantized weight as little-endian float32, row-major: what a reader of the checkpoint has to get. It stands
 * in the manifest, so that verification compares a file with what the quantizer meant.
 */
export function weightSha256(linear: QuantizedLinear): string {
  return createHash('sha256')
    .update(bytesOf(dequantize(linear)))
    .digest('hex');
}
