import { decodeFloats, encodeFloats } from '../../numbers';
import type { MinifloatLinear } from '../../quantizers/grids/minifloat-grid';
import { type ActivationType, elementCount, type Tensor } from '../../spec';
import type { ExpectedTensor, LinearSettings } from '../linear-storage';
import type { LinearParts } from './linear-parts';

/** The tensor of a module that says how all its inputs are quantized. */
interface InputScale {
  readonly part: string;
  /** As it is written. */
  readonly dtype: 'BF16' | 'F32';
  /** That are read. */
  readonly dtypes: readonly string[];
}

/** What inputs are divided by. */
const FP8: InputScale = { part: 'input_scale', dtype: 'BF16', dtypes: ['BF16', 'F16', 'F32'] };
/** What the scales of their groups are divided by. */
const NVFP4: InputScale = { part: 'input_global_scale', dtype: 'F32', dtypes: ['F32'] };

const INPUT_SCALES: Readonly<Partial<Record<ActivationType, InputScale>>> = { 'fp8-static': FP8, nvfp4: NVFP4 };

/** The last parts of the names of such tensors. */
export const INPUT_SCALE_PARTS = [FP8.part, NVFP4.part] as const;

/** The one of a linear's inputs; undefined: they have none. */
export function inputScalePart({ activations }: Pick<LinearSettings, 'activations'>): string | undefined {
  return activations && INPUT_SCALES[activations]?.part;
}

/** The tensors of a linear that say how its inputs are quantized, by name. `[1]`. */
export function encodeInputScale(
  name: string,
  linear: { readonly kind: string } & Partial<Pick<MinifloatLinear, 'inputScale' | 'floatType'>>,
): [string, Tensor][] {
  const { inputScale, floatType } = linear;
  if (inputScale === undefined) return [];
  const { part, dtype } = floatType === 'nvfp4' ? NVFP4 : FP8;
  return [[`${name}.${part}`, { dtype, shape: [1], data: encodeFloats(Float32Array.of(inputScale), dtype) }]];
}

/** What is expected of them, by part. */
export function inputScaleTensor({ activations }: Pick<LinearSettings, 'activations'>): Record<string, ExpectedTensor> {
  const scale = activations && INPUT_SCALES[activations];
  return scale ? { [scale.part]: { shape: [1], dtypes: scale.dtypes } } : {};
}

/** What they hold. @throws QuantloomError InvalidCheckpoint where it is missing, or no positive number. */
export async function readInputScale(
  parts: LinearParts,
  { activations }: Pick<LinearSettings, 'activations'>,
): Promise<Pick<MinifloatLinear, 'inputScale'>> {
  const scale = activations && INPUT_SCALES[activations];
  if (!scale) return {};
  const tensor = await parts.read(scale.part, scale.dtypes);
  const [inputScale = Number.NaN] = decodeFloats(tensor);
  if (elementCount(tensor.shape) !== 1) throw parts.invalid(scale.part, JSON.stringify(tensor.shape), '[1]');
  if (!(inputScale > 0 && Number.isFinite(inputScale))) throw parts.invalid(scale.part, String(inputScale), 'positive');
  return { inputScale };
}
