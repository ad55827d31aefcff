import type { ScratchFloats } from './scratch-floats';
import type { StoredActivation } from './stored-activation';

/** The values in memory that no other thread sees: onnxruntime-node takes no other. Itself where it is, else a copy in `scratch`. */
export function unsharedFloats(name: string, values: Float32Array, scratch: ScratchFloats): Float32Array {
  if (!isShared(values)) return values;
  const own = scratch.of(`${name} unshared`, values.length);
  own.set(values);
  return own;
}

export function isShared({ buffer }: StoredActivation): boolean {
  return buffer instanceof SharedArrayBuffer;
}
