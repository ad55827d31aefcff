import { gridOf } from './grids/grids';
import type { QuantizedLinear } from './quantized-linear';

/**
 * The weight that readers compute.
 *
 * @param weight `[rows, columns]`, where to; default memory of its own.
 * @returns `weight`.
 */
export function dequantize(
  linear: QuantizedLinear,
  weight: Float32Array = new Float32Array(linear.rows * linear.columns),
): Float32Array {
  gridOf(linear).open(linear)(0, linear.rows, weight);
  return weight;
}
