/** The bytes of a typed array, without a copy. */
export function bytesOf(values: Float32Array | Int32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** Bytes as float32, without a copy where their alignment allows. */
export function floatsOf(content: Uint8Array): Float32Array {
  const bytes = content.byteOffset % 4 === 0 ? content : new Uint8Array(content);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

/** Bytes as int32, without a copy where their alignment allows. */
export function integersOf(content: Uint8Array): Int32Array {
  const bytes = content.byteOffset % 4 === 0 ? content : new Uint8Array(content);
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}
