/** A copy of some little-endian floats, wherever they lie. */
export function floatsAt({ buffer, byteOffset }: Uint8Array, at: number, bytes: number): Float32Array {
  return new Float32Array(buffer.slice(byteOffset + at, byteOffset + at + bytes) as ArrayBuffer);
}
