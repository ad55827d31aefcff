export {
  BFLOAT16_MAX,
  bfloat16Bits,
  bfloat16Value,
  decodeBfloat16,
  encodeBfloat16,
  roundToBfloat16,
} from './bfloat16';
export { decodeFloats } from './decode-floats';
export { bytesOf, float32View, float64View, int32View, uint16View } from './element-views';
export { encodeFloats } from './encode-floats';
export { decodeFloat8E4m3 } from './float8';
export {
  decodeFloat16,
  encodeFloat16,
  FLOAT16_MAX,
  FLOAT16_MIN,
  float16Bits,
  float16Value,
  roundToFloat16,
} from './float16';
export { E2M1, E4M3, type Minifloat, minifloatCode, minifloatValues } from './minifloat';
export { findNonFinite, mayBeNonFinite } from './non-finite';
export { roundHalfAway, roundHalfEven, truncateAfterHalf } from './rounding';
export { transposed, transposedBytes } from './transposed';
