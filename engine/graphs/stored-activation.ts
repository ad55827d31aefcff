import { decodeBfloat16, encodeBfloat16 } from '../numbers';
import type { Scratch } from './scratch-floats';

/** An activation as it is kept between stages: float32, or the patterns of bfloat16. In memory that threads may share. */
export type StoredActivation = Float32Array | Uint16Array;

/** In float32: itself where it is, else decoded into `scratch`. */
export function activationFloats(name: string, stored: StoredActivation, scratch: Scratch): Float32Array {
  if (stored instanceof Float32Array) return stored;
  return decodeBfloat16(stored, scratch.of(`${name} decoded`, stored.length));
}

export function storeActivation(values: Float32Array, stored: StoredActivation): void {
  if (stored instanceof Float32Array) stored.set(values);
  else encodeBfloat16(values, stored);
}
