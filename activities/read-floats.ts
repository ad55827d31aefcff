import { decodeFloats, float32View } from '../engine/numbers';
import type { ArtifactRef, DType, FloatTensor } from '../engine/spec';
import type { TakeMemory } from './borrow-memory';
import type { Bench } from './step';

/** A weight of the source as float32. `take`: where its memory comes from; default its own. */
export async function readFloats(
  ref: ArtifactRef,
  bench: Pick<Bench, 'read' | 'readInto'>,
  take?: TakeMemory,
): Promise<FloatTensor> {
  const shape = ref.shape as readonly number[];
  const dtype = ref.dtype as DType;
  if (!take) return { shape, data: decodeFloats({ dtype, shape, data: await bench.read(ref) }) };
  const data = await bench.readInto(ref, take(ref.bytes));
  if (dtype === 'F32') return { shape, data: float32View(data) };
  const floats = new Float32Array(take(shape.reduce((product, size) => product * size, 4)));
  return { shape, data: decodeFloats({ dtype, shape, data }, floats) };
}
