import { createHash } from 'node:crypto';
import { bytesOf, roundToFloat16 } from '../../numbers';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';

/**
 * SHA-256 of a weight with zero points as blocks with a minimum hold it: `code · scale + float16(-scale · zero)` in float32, row-major,
 * little-endian. null: it is symmetric, and held to the last bit.
 */
export function storedWeightSha256(linear: AffineLinear): string | null {
  if (linear.symmetric) return null;
  const { rows, columns, codes, scales, zeros, groupOf } = linear;
  const groups = scales.length / rows;
  const hash = createHash('sha256');
  const weights = new Float32Array(columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const group = row * groups + (groupOf[column] as number);
      const scale = scales[group] as number;
      const minimum = roundToFloat16(-scale * (zeros[group] as number));
      weights[column] = (codes[row * columns + column] as number) * scale + minimum;
    }
    hash.update(bytesOf(weights));
  }
  return hash.digest('hex');
}
