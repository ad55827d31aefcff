import type { NativeAddon } from '../kernels';

/** As long as the weight itself is in memory. */
const packed = new WeakMap<Float32Array, Uint32Array>();

/** A weight `[rows, columns]` as the native product takes it; packed once. */
export function packedWeight(native: NativeAddon, weight: Float32Array, rows: number, columns: number): Uint32Array {
  let words = packed.get(weight);
  if (!words) {
    words = new Uint32Array(native.packedLength(rows, columns));
    native.packLinear(weight, rows, columns, words);
    packed.set(weight, words);
  }
  return words;
}
