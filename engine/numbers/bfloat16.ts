import { nativeKernelsFor } from '../kernels/select-kernels';
import { roundToBinary } from './round-to-binary';

/** Largest finite bfloat16. */
export const BFLOAT16_MAX = 2 ** 127 * (2 - 2 ** -7);

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** Rounds to the nearest bfloat16, ties to even, straight from float64. Magnitudes past the largest become Infinity. */
export function roundToBfloat16(x: number): number {
  return roundToBinary(x, 8, -126, BFLOAT16_MAX);
}

/** The bfloat16 pattern of a float32 value, ties to even. Other values are rounded to float32 first. */
export function bfloat16Bits(value: number): number {
  scratch[0] = value;
  return bfloat16BitsOfFloat32Bits(scratchBits[0] as number);
}

/** The value of a bfloat16 pattern: the upper half of a float32. */
export function bfloat16Value(bits: number): number {
  scratchBits[0] = bits << 16;
  return scratch[0] as number;
}

/** Bfloat16 patterns to float32 values; exact. */
export function decodeBfloat16(
  source: Uint16Array,
  target: Float32Array = new Float32Array(source.length),
): Float32Array {
  const native = nativeKernelsFor(source.length);
  if (native) {
    native.decodeFloats('bfloat16', source, target.subarray(0, source.length));
    return target;
  }
  const targetBits = new Uint32Array(target.buffer, target.byteOffset, target.length);
  for (let i = 0; i < source.length; i++) targetBits[i] = (source[i] as number) << 16;
  return target;
}

/** Float32 values to bfloat16 patterns, ties to even. */
export function encodeBfloat16(
  source: Float32Array,
  target: Uint16Array = new Uint16Array(source.length),
): Uint16Array {
  const native = nativeKernelsFor(source.length);
  if (native) {
    native.encodeFloats('bfloat16', source, target.subarray(0, source.length));
    return target;
  }
  const sourceBits = new Uint32Array(source.buffer, source.byteOffset, source.length);
  for (let i = 0; i < sourceBits.length; i++) target[i] = bfloat16BitsOfFloat32Bits(sourceBits[i] as number);
  return target;
}

function bfloat16BitsOfFloat32Bits(bits: number): number {
  // Rounding a NaN could carry into the exponent and make it Infinity; a quiet bit keeps it a NaN.
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x0040;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}
