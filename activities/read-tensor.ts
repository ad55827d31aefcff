import type { ArtifactRef, Tensor } from '../engine/spec';
import type { Bench } from './step';

/** A tensor in the dtype that it is stored in. */
export async function readTensor(ref: ArtifactRef, bench: Pick<Bench, 'read'>): Promise<Tensor> {
  return { dtype: ref.dtype as Tensor['dtype'], shape: ref.shape as readonly number[], data: await bench.read(ref) };
}
