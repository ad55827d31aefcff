import { ownMemory, type TakeMemory } from '../memory';
import type { NativeAddon } from './native-addon';

/** Bytes of a cache line, and of the widest vector and of a row of a tile. */
const LINE = 64;

/**
 * Floats that begin on a cache line: a kernel's loads and stores are as wide as one, and each that lies on two takes twice as long. What allocators hand out begins
 * 16 bytes after one.
 *
 * @param native null: wherever they begin.
 */
export function floatsOnLines(
  native: Pick<NativeAddon, 'bytesToLine'> | null,
  length: number,
  take: TakeMemory = ownMemory,
): Float32Array {
  if (native === null) return new Float32Array(take(length * Float32Array.BYTES_PER_ELEMENT));
  const memory = take(length * Float32Array.BYTES_PER_ELEMENT + LINE);
  return new Float32Array(memory, native.bytesToLine(new Uint8Array(memory)), length);
}
