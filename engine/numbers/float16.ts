import { nativeKernelsFor } from '../kernels/select-kernels';
import { roundToBinary } from './round-to-binary';

/** Largest finite float16. */
export const FLOAT16_MAX = 65504;
/** Smallest positive float16 (subnormal), 2^-24. */
export const FLOAT16_MIN = 2 ** -24;

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

let table: Uint32Array | null = null;

/** Float32 bits of each of the 65536 float16 patterns; built at first use (256 KB). */
function float32BitsTable(): Uint32Array {
  table ??= buildTable();
  return table;
}

/**
 * Rounds to the nearest float16, ties to even, straight from float64: a detour over float32 would round twice.
 * Magnitudes from 65520 on become Infinity; NaN and the sign of zero stay.
 */
export function roundToFloat16(x: number): number {
  return roundToBinary(x, 11, -14, FLOAT16_MAX);
}

/** The float16 pattern of a float32 value (IEEE 754 binary16, ties to even). Other values are rounded to float32 first. */
export function float16Bits(value: number): number {
  scratch[0] = value;
  return float16BitsOfFloat32Bits(scratchBits[0] as number);
}

/** The value of a float16 pattern. */
export function float16Value(bits: number): number {
  scratchBits[0] = float32BitsTable()[bits & 0xffff] as number;
  return scratch[0] as number;
}

/** Float16 patterns to float32 values; exact, NaN payloads included. */
export function decodeFloat16(
  source: Uint16Array,
  target: Float32Array = new Float32Array(source.length),
): Float32Array {
  const native = nativeKernelsFor(source.length);
  if (native) {
    native.decodeFloats('float16', source, target.subarray(0, source.length));
    return target;
  }
  const lookup = float32BitsTable();
  // Integers all the way: a NaN that passes through a float register may lose its payload.
  const targetBits = new Uint32Array(target.buffer, target.byteOffset, target.length);
  for (let i = 0; i < source.length; i++) targetBits[i] = lookup[source[i] as number] as number;
  return target;
}

/** Float32 values to float16 patterns, ties to even. */
export function encodeFloat16(source: Float32Array, target = new Uint16Array(source.length)): Uint16Array {
  const native = nativeKernelsFor(source.length);
  if (native) {
    native.encodeFloats('float16', source, target.subarray(0, source.length));
    return target;
  }
  const sourceBits = new Uint32Array(source.buffer, source.byteOffset, source.length);
  for (let i = 0; i < sourceBits.length; i++) target[i] = float16BitsOfFloat32Bits(sourceBits[i] as number);
  return target;
}

function float16BitsOfFloat32Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  // 2^-14 up to 65520: rebias the exponent (127 to 15), add just under half a unit plus the lowest kept bit, cut 13 bits.
  if (magnitude >= 0x38800000 && magnitude < 0x477ff000) {
    return sign | ((magnitude - 0x38000000 + 0x0fff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x03ff);
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  // Below 2^-25 (and the tie at it) nothing is left.
  if (magnitude <= 0x33000000) return sign;
  // Subnormal, in units of 2^-24.
  const significand = (magnitude & 0x007fffff) | 0x00800000;
  const shift = 126 - (magnitude >>> 23);
  const kept = significand >>> shift;
  return sign | ((significand + ((1 << (shift - 1)) - 1) + (kept & 1)) >>> shift);
}

/** IEEE 754 binary16: 1 sign, 5 exponent (bias 15), 10 significand bits. */
function buildTable(): Uint32Array {
  const entries = new Uint32Array(65536);
  const values = new Float32Array(entries.buffer);
  for (let bits = 0; bits < 0x8000; bits++) {
    const exponent = bits >>> 10;
    const fraction = bits & 0x3ff;
    if (exponent === 31) entries[bits] = 0x7f800000 | (fraction << 13);
    else if (exponent === 0) values[bits] = fraction * FLOAT16_MIN;
    else entries[bits] = ((exponent + 112) << 23) | (fraction << 13);
    entries[bits | 0x8000] = (entries[bits] as number) | 0x80000000;
  }
  return entries;
}
