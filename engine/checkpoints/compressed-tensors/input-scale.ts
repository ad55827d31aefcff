import { decodeFloats, encodeFloats } from '../../numbers';
import type { MinifloatLinear } from '../../quantizers/grids/minifloat-grid';
import { type ActivationType, elementCount, isStatic, type Tensor } from '../../spec';
import type { ExpectedTensor } from '../linear-storage';
import type { LinearParts } from './linear-parts';

/** The tensor of a module that holds what all its inputs are divided by. */
export const INPUT_SCALE = 'input_scale';
const DTYPES = ['BF16', 'F16', 'F32'];

/** The tensors of a linear that say how its inputs are quantized, by name. */
export function encodeInputScale(
  name: string,
  linear: { readonly kind: string } & Pick<MinifloatLinear, 'inputScale'>,
): [string, Tensor][] {
  const { inputScale } = linear;
  if (inputScale === undefined) return [];
  const data = encodeFloats(Float32Array.of(inputScale), 'BF16');
  return [[`${name}.${INPUT_SCALE}`, { dtype: 'BF16', shape: [1], data }]];
}

/** What is expected of them, by part. */
export function inputScaleTensor(activations: ActivationType | undefined): Record<string, ExpectedTensor> {
  return isStatic(activations) ? { [INPUT_SCALE]: { shape: [1], dtypes: DTYPES } } : {};
}

/** What they hold. @throws QuantloomError InvalidCheckpoint where it is missing, or no positive number. */
export async function readInputScale(
  parts: LinearParts,
  activations: ActivationType | undefined,
): Promise<Pick<MinifloatLinear, 'inputScale'>> {
  if (!isStatic(activations)) return {};
  const tensor = await parts.read(INPUT_SCALE, DTYPES);
  const [inputScale = Number.NaN] = decodeFloats(tensor);
  if (elementCount(tensor.shape) !== 1) throw parts.invalid(INPUT_SCALE, JSON.stringify(tensor.shape), '[1]');
  if (!(inputScale > 0 && Number.isFinite(inputScale)))
    throw parts.invalid(INPUT_SCALE, String(inputScale), 'positive');
  return { inputScale };
}
