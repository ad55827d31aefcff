import { decodeFloats, encodeFloats, transposed, transposedBytes } from '../../../numbers';
import { DTYPE_BITS, type FloatTensor, type Tensor } from '../../../spec';
import { isPlain } from '../blocks/block-type';
import type { GgufTensorPlan } from './plan-gguf-tensors';

/** The bytes that a finished tensor has in the file, but for the order of its rows: blocks as they are, floats in the type that is planned. */
export function plannedBytes(plan: GgufTensorPlan, tensor: Tensor): Uint8Array {
  const { type, added } = plan;
  if (!isPlain(type)) return tensor.data;
  if (added !== 0 || tensor.dtype !== type) {
    return encodeFloats(plannedFloats(plan, { shape: tensor.shape, data: decodeFloats(tensor) }), type as 'F32');
  }
  return plan.transposed ? turned(tensor).data : tensor.data;
}

/** The numbers that a tensor of the source has in the file, but for the order of its rows. */
export function plannedFloats({ added, ...plan }: GgufTensorPlan, { shape, data }: FloatTensor): Float32Array {
  const values = plan.transposed ? transposed(data, shape[0] as number) : data;
  return added === 0 ? values : values.map((value) => value + added);
}

/** A tensor of a file as the source has it, but for the order of its rows. */
export function sourceTensor(tensor: Tensor, change: Pick<GgufTensorPlan, 'transposed' | 'added'>): Tensor {
  const { dtype } = tensor;
  const lying = change.transposed ? turned(tensor) : tensor;
  if (change.added === 0) return lying;
  const values = decodeFloats(lying).map((value) => value - change.added);
  return { ...lying, data: encodeFloats(values, dtype as 'F32') };
}

function turned({ dtype, shape, data }: Tensor): Tensor {
  return { dtype, shape: shape.toReversed(), data: transposedBytes(data, shape[0] as number, DTYPE_BITS[dtype] / 8) };
}
