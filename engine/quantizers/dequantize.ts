import { nativeKernelsFor } from '../kernels';
import type { QuantizedLinear } from './quantized-linear';

/**
 * The weight that readers compute: `(code - zero) * scale` in float32 (exact: at most 9 bits times the 11 of a float16).
 *
 * @param weight `[rows, columns]`, where to; default memory of its own.
 * @returns `weight`.
 */
export function dequantize(
  linear: QuantizedLinear,
  weight = new Float32Array(linear.rows * linear.columns),
): Float32Array {
  const { rows, columns, codes, scales, zeros, groupOf } = linear;
  const native = nativeKernelsFor(weight.length);
  if (native) {
    native.dequantize(linear, weight);
    return weight;
  }
  const groups = scales.length / rows;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = row * columns + column;
      const group = row * groups + (groupOf[column] as number);
      weight[at] = ((codes[at] as number) - (zeros[group] as number)) * (scales[group] as number);
    }
  }
  return weight;
}
