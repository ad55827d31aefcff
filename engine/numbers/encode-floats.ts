import { encodeBfloat16 } from './bfloat16';
import { bytesOf } from './element-views';
import { encodeFloat16 } from './float16';

/** Little-endian bytes of the values, rounded to the dtype (ties to even), in memory of their own. */
export function encodeFloats(values: Float32Array, dtype: 'F32' | 'F16' | 'BF16'): Uint8Array {
  switch (dtype) {
    case 'F32':
      return bytesOf(new Float32Array(values));
    case 'F16':
      return bytesOf(encodeFloat16(values));
    case 'BF16':
      return bytesOf(encodeBfloat16(values));
  }
}
