/**
 * The value (plain objects and lists) with typed arrays that can be transferred whole: small buffers of Node share one allocation,
 * and those are copied. What threads share stays where it is. `buffers`: what is to be transferred.
 */
export function ownedArrays<Value>(value: Value): { readonly value: Value; readonly buffers: readonly ArrayBuffer[] } {
  const buffers = new Set<ArrayBuffer>();
  const own = (part: unknown): unknown => {
    if (part instanceof Uint8Array || part instanceof Float32Array) {
      if (part.buffer instanceof SharedArrayBuffer) return part;
      const whole = part.byteLength === part.buffer.byteLength;
      // A Buffer's own `slice` would still lie in the shared allocation, which cannot be transferred.
      const array = whole ? part : part instanceof Float32Array ? part.slice() : new Uint8Array(part);
      buffers.add(array.buffer as ArrayBuffer);
      return array;
    }
    if (Array.isArray(part) || part === null || typeof part !== 'object') return part;
    return Object.fromEntries(Object.entries(part).map(([key, inner]) => [key, own(inner)]));
  };
  return { value: own(value) as Value, buffers: [...buffers] };
}
