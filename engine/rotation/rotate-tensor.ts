import type { TensorRotation } from '../models/architecture';
import { decodeFloats, encodeFloats } from '../numbers';
import type { DType, Tensor } from '../spec';
import { changeBasis } from './change-basis';
import { orthogonalBasis } from './orthogonal-basis';

export interface TensorToRotate {
  /** A float matrix `[rows, columns]`, or a vector `[rows]`: a bias, a norm's gain. */
  readonly tensor: Tensor;
  /** The tensor that `rotation.gain` names. */
  readonly gain: Tensor | null;
  readonly rotation: TensorRotation;
  /** Of the result. Float32 keeps all that was computed. */
  readonly dtype: 'F32' | 'F16' | 'BF16';
  readonly signal?: AbortSignal;
}

/**
 * One tensor of the rotated model, which computes the same function as the original (SliceGPT, arXiv 2401.15024, section 3.2;
 * QuaRot, arXiv 2404.00456, section 4): a norm's gain moves into the linears that read its output, after which an orthogonal change
 * of basis of the hidden state commutes with the norm.
 */
export async function rotateTensor({ tensor, gain, rotation, dtype, signal }: TensorToRotate): Promise<Tensor> {
  const { shape } = tensor;
  const values = decodeFloats(tensor);
  const columns = shape.length === 1 ? 1 : (shape.at(-1) as number);
  if (rotation.ones) values.fill(1);
  if (gain) multiplyColumns(values, decodeFloats(gain));
  if (rotation.columns) await changeBasis(values, basisOf(rotation.columns), { signal });
  if (rotation.rows) await changeBasis(values, basisOf(rotation.rows), { inner: columns, signal });
  return { dtype: dtype satisfies DType, shape, data: encodeFloats(values, dtype) };
}

function multiplyColumns(values: Float32Array, gain: Float32Array): void {
  for (let start = 0; start < values.length; start += gain.length) {
    for (let column = 0; column < gain.length; column++) {
      values[start + column] = (values[start + column] as number) * (gain[column] as number);
    }
  }
}

function basisOf({ size, seed }: NonNullable<TensorRotation['rows']>) {
  return orthogonalBasis(size, seed);
}
