/**
 * Views of little-endian bytes as elements. Bytes that do not start on a multiple of the element size (safetensors promises no
 * alignment) are copied first, because a typed array cannot look at them.
 */
export function uint16View(bytes: Uint8Array): Uint16Array {
  const aligned = alignedBytes(bytes, 2);
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >>> 1);
}

/** See {@link uint16View}. */
export function int32View(bytes: Uint8Array): Int32Array {
  const aligned = alignedBytes(bytes, 4);
  return new Int32Array(aligned.buffer, aligned.byteOffset, Math.floor(aligned.byteLength / 4));
}

/** See {@link uint16View}. */
export function float32View(bytes: Uint8Array): Float32Array {
  const aligned = alignedBytes(bytes, 4);
  return new Float32Array(aligned.buffer, aligned.byteOffset, Math.floor(aligned.byteLength / 4));
}

/** See {@link uint16View}. */
export function float64View(bytes: Uint8Array): Float64Array {
  const aligned = alignedBytes(bytes, 8);
  return new Float64Array(aligned.buffer, aligned.byteOffset, Math.floor(aligned.byteLength / 8));
}

/** The same bytes as a plain Uint8Array (no Buffer), without a copy. */
export function bytesOf(elements: ArrayBufferView): Uint8Array {
  return new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength);
}

function alignedBytes(bytes: Uint8Array, elementBytes: number): Uint8Array {
  // Buffer.slice() would share memory; the Uint8Array constructor copies.
  return bytes.byteOffset % elementBytes === 0 ? bytes : new Uint8Array(bytes);
}
