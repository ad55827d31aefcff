import { FLOAT16_MAX, float16Bits, float16Value } from '../../../numbers';

/** The float16 at `offset`, little-endian. */
export function readHalf(bytes: Uint8Array, offset: number): number {
  return float16Value((bytes[offset] as number) | ((bytes[offset + 1] as number) << 8));
}

/** Stores a value as float16, ties to even, beyond the largest as the largest, and returns what was stored. */
export function writeHalf(bytes: Uint8Array, offset: number, value: number): number {
  const bits = float16Bits(Math.max(-FLOAT16_MAX, Math.min(FLOAT16_MAX, value)));
  bytes[offset] = bits;
  bytes[offset + 1] = bits >>> 8;
  return float16Value(bits);
}
