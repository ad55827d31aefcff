import { decodeFloats } from '../engine/numbers';
import type { ArtifactRef, DType, FloatTensor } from '../engine/spec';
import type { Bench } from './step';

/** A weight of the source as float32. */
export async function readFloats(ref: ArtifactRef, bench: Pick<Bench, 'read'>): Promise<FloatTensor> {
  const shape = ref.shape as readonly number[];
  return { shape, data: decodeFloats({ dtype: ref.dtype as DType, shape, data: await bench.read(ref) }) };
}
