import { createHash } from 'node:crypto';
import { bytesOf, decodeFloats, encodeFloats, transposed } from '../../numbers';
import { dequantize, type QuantizedLinear } from '../../quantizers';
import { QuantloomError, type Tensor } from '../../spec';
import type { WeightForm } from '../weight-form';

/**
 * The weight that a quantized linear stands for, in the form of the source: rounded to the nearest number of its dtype.
 *
 * @throws QuantloomError UnsupportedInput naming a module whose weights are beyond the dtype.
 */
export function floatWeight(
  module: string,
  linear: QuantizedLinear,
  { dtype, transposed: isTurned }: WeightForm,
): Tensor {
  const { rows, columns } = linear;
  const weight = dequantize(linear);
  const values = isTurned ? transposed(weight, rows) : weight;
  const tensor: Tensor = {
    dtype,
    shape: isTurned ? [columns, rows] : [rows, columns],
    data: encodeFloats(values, dtype),
  };
  if (decodeFloats(tensor).every(Number.isFinite)) return tensor;
  const largest = weight.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  throw new QuantloomError(
    'UnsupportedInput',
    `${module}: a weight of ${largest} is beyond ${dtype}. Write the format dequantized-float32.`,
    { details: { module, dtype, largest } },
  );
}

/** SHA-256 of this weight as the file has it, in float32, little-endian, row-major. */
export function floatWeightSha256(linear: QuantizedLinear, form: WeightForm): string {
  const values = decodeFloats(floatWeight('the linear', linear, form));
  return createHash('sha256').update(bytesOf(values)).digest('hex');
}
