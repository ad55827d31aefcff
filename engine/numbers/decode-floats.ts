import { DTYPE_BITS, elementCount, QuantloomError, type Tensor } from '../spec';
import { decodeBfloat16 } from './bfloat16';
import { float32View, float64View, uint16View } from './element-views';
import { decodeFloat16 } from './float16';

/**
 * The values of an F32, F16, BF16 or F64 tensor, row-major. F64 is rounded to float32, the others are exact.
 * The bytes may start at any offset.
 *
 * @param target where to, as many numbers as the tensor has; default memory of its own.
 * @throws QuantloomError UnsupportedInput for another dtype, InvalidModel when the bytes do not match the shape.
 */
export function decodeFloats(tensor: Tensor, target?: Float32Array): Float32Array {
  const bytes = (elementCount(tensor.shape) * DTYPE_BITS[tensor.dtype]) / 8;
  if (tensor.data.byteLength !== bytes) {
    throw new QuantloomError(
      'InvalidModel',
      `A ${tensor.dtype} tensor of shape [${tensor.shape.join(', ')}] takes ${bytes} bytes, but ${tensor.data.byteLength} were given.`,
    );
  }
  switch (tensor.dtype) {
    case 'F32':
      return copied(float32View(tensor.data), target);
    case 'F64':
      return copied(float64View(tensor.data), target);
    case 'F16':
      return decodeFloat16(uint16View(tensor.data), target);
    case 'BF16':
      return decodeBfloat16(uint16View(tensor.data), target);
    default:
      throw new QuantloomError(
        'UnsupportedInput',
        `A tensor of dtype ${tensor.dtype} cannot be read as floating point; F32, F16, BF16 and F64 can.`,
      );
  }
}

function copied(
  values: Float32Array | Float64Array,
  target: Float32Array = new Float32Array(values.length),
): Float32Array {
  target.set(values);
  return target;
}
