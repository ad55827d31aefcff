import { floatsOnLines, type NativeAddon } from '../kernels';
import { ownMemory } from '../memory';

/** As long as the weight itself is in memory. */
const packed = new WeakMap<Float32Array, Uint32Array>();

/**
 * A weight `[rows, columns]` as the native product takes it; packed once.
 *
 * @param take memory that lasts as long as the weight itself does.
 */
export function packedWeight(
  native: NativeAddon,
  weight: Float32Array,
  rows: number,
  columns: number,
  take = ownMemory,
): Uint32Array {
  let words = packed.get(weight);
  if (!words) {
    const { buffer, byteOffset, length } = floatsOnLines(native, native.packedLength(rows, columns), take);
    words = new Uint32Array(buffer, byteOffset, length);
    native.packLinear(weight, rows, columns, words);
    packed.set(weight, words);
  }
  return words;
}
