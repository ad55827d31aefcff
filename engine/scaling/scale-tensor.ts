import { decodeFloats, encodeFloats } from '../numbers';
import type { Tensor } from '../spec';

export interface TensorToScale {
  /** A float matrix `[rows, columns]`, or a vector `[rows]`: a bias, a norm's gain. */
  readonly tensor: Tensor;
  /** `[columns]`: multiplied. null: as they are. */
  readonly columns: Float32Array | null;
  /** Rows from `first` on are divided by these. null: none. */
  readonly rows: { readonly first: number; readonly scales: Float32Array } | null;
  /** What the stored numbers are less than those that are meant. Default: 0. */
  readonly offset?: number;
  /** Of the result. Float32 keeps all that was computed. */
  readonly dtype: 'F32' | 'F16' | 'BF16';
}

/** A tensor of the scaled model, which computes the same function as the original. */
export function scaleTensor({ tensor, columns, rows, offset = 0, dtype }: TensorToScale): Tensor {
  const { shape } = tensor;
  const values = decodeFloats(tensor);
  const width = shape.length === 1 ? 1 : (shape.at(-1) as number);
  if (columns)
    for (let at = 0; at < values.length; at++) values[at] = (values[at] as number) * (columns[at % width] as number);
  rows?.scales.forEach((scale, row) => {
    const start = (rows.first + row) * width;
    for (let at = start; at < start + width; at++) values[at] = ((values[at] as number) + offset) / scale - offset;
  });
  return { dtype, shape, data: encodeFloats(values, dtype) };
}

/**
 * The scales that a norm's gain can take up: gain / scale is rounded to what the gain is stored in, and the scale becomes what is left of it,
 * so that gain and weights together are the original's. Where the gain is zero or would be, the scale is 1.
 *
 * @param offset what the stored gain is less than the gain.
 */
export function scalesOfGain(gain: Tensor, scales: Float32Array, offset = 0): Float32Array {
  const values = decodeFloats(gain);
  const divided = values.map((value, channel) => (value + offset) / (scales[channel] as number) - offset);
  const stored = decodeFloats({ ...gain, data: encodeFloats(divided, gain.dtype as 'F32' | 'F16' | 'BF16') });
  return stored.map((value, channel) => {
    const scale = ((values[channel] as number) + offset) / (value + offset);
    return Number.isFinite(scale) && scale > 0 ? scale : 1;
  });
}
