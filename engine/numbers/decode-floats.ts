import { DTYPE_BITS, elementCount, QuantloomError, type Tensor } from '../spec';
import { decodeBfloat16 } from './bfloat16';
import { float32View, float64View, uint16View } from './element-views';
import { decodeFloat16 } from './float16';

/**
 * The values of an F32, F16, BF16 or F64 tensor, row-major, in memory of their own. F64 is rounded to float32, the others are exact.
 * The bytes may start at any offset.
 *
 * @throws QuantloomError UnsupportedInput for another dtype, InvalidModel when the bytes do not match the shape.
 */
export function decodeFloats(tensor: Tensor): Float32Array {
  const bytes = (elementCount(tensor.shape) * DTYPE_BITS[tensor.dtype]) / 8;
  if (tensor.data.byteLength !== bytes) {
    throw new QuantloomError(
      'InvalidModel',
      `A ${tensor.dtype} tensor of shape [${tensor.shape.join(', ')}] takes ${bytes} bytes, but ${tensor.data.byteLength} were given.`,
    );
  }
  switch (tensor.dtype) {
    case 'F32':
      return new Float32Array(float32View(tensor.data));
    case 'F64':
      return new Float32Array(float64View(tensor.data));
    case 'F16':
      return decodeFloat16(uint16View(tensor.data));
    case 'BF16':
      return decodeBfloat16(uint16View(tensor.data));
    default:
      throw new QuantloomError(
        'UnsupportedInput',
        `A tensor of dtype ${tensor.dtype} cannot be read as floating point; F32, F16, BF16 and F64 can.`,
      );
  }
}
