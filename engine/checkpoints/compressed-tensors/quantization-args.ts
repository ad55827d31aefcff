import { type ActivationType, type FloatType, floatTypesOf, type Recipe } from '../../spec';
import type { LinearSettings } from '../linear-storage';
import { linearLayout, storesOneScale } from './layout';

/** The fields of compressed-tensors' QuantizationArgs that say how weights are quantized. */
export interface WeightArgs {
  readonly num_bits: number;
  readonly type: string;
  readonly symmetric: boolean;
  readonly strategy: string;
  readonly group_size: number | null;
  readonly block_structure?: readonly number[];
  readonly scale_dtype?: string;
  readonly dynamic: false;
  readonly actorder: string | null;
}

/** The same of the inputs. `dynamic`: runtimes find the scales, token by token; `local`: those of groups, which a known number divides. */
export interface InputArgs {
  readonly num_bits: number;
  readonly type: string;
  readonly symmetric: true;
  readonly strategy: string;
  readonly group_size: number | null;
  readonly scale_dtype?: string;
  readonly dynamic: boolean | 'local';
}

type FloatArgs = Pick<WeightArgs, 'num_bits' | 'strategy' | 'group_size' | 'block_structure' | 'scale_dtype'>;

/** The types of float that compressed-tensors has. */
export const FLOAT_ARGS: Readonly<Partial<Record<FloatType, FloatArgs>>> = {
  fp8: { num_bits: 8, strategy: 'channel', group_size: null },
  'fp8-tensor': { num_bits: 8, strategy: 'tensor', group_size: null },
  'fp8-block': { num_bits: 8, strategy: 'block', group_size: null, block_structure: [128, 128] },
  mxfp4: { num_bits: 4, strategy: 'group', group_size: 32, scale_dtype: 'torch.uint8' },
  nvfp4: { num_bits: 4, strategy: 'tensor_group', group_size: 16, scale_dtype: 'torch.float8_e4m3fn' },
};

export function weightArgs(recipe: Recipe): WeightArgs {
  const { bits, symmetric, groupSize, method, actOrder, floatType, perTensor } = recipe;
  const whole = perTensor && storesOneScale(linearLayout(recipe));
  // The order in which columns were quantized; groups are sequential all the same.
  const actorder = method === 'gptq' && actOrder === 'static' ? 'weight' : null;
  const floats = floatType && FLOAT_ARGS[floatType];
  if (floats) return { type: 'float', symmetric: true, ...floats, dynamic: false, actorder };
  return {
    num_bits: bits,
    type: 'int',
    symmetric,
    strategy: groupSize !== -1 ? 'group' : whole ? 'tensor' : 'channel',
    group_size: groupSize === -1 ? null : groupSize,
    dynamic: false,
    actorder,
  };
}

/** Whether kernels multiply inputs of this type with such weights. */
export function fitsWeights(activations: ActivationType, { floatType }: Pick<LinearSettings, 'floatType'>): boolean {
  const types = floatTypesOf(activations);
  return floatType ? types.includes(floatType) : types.length === 0;
}

/** null: they stay as they are. */
export function inputArgs({
  activations,
  floatType,
}: Pick<LinearSettings, 'floatType'> & Pick<Recipe, 'activations'>): InputArgs | null {
  if (!activations || activations === 'none') return null;
  const type = activations === 'int8' ? 'int' : 'float';
  if (activations === 'mxfp4' || activations === 'nvfp4') {
    return {
      type,
      symmetric: true,
      ...(FLOAT_ARGS[activations] as FloatArgs),
      dynamic: activations === 'mxfp4' || 'local',
    };
  }
  const eight = { num_bits: 8, type, symmetric: true } as const;
  if (activations === 'fp8-static') return { ...eight, strategy: 'tensor', group_size: null, dynamic: false };
  // Weights in blocks are multiplied block by block.
  const across = floatType && FLOAT_ARGS[floatType]?.block_structure?.[1];
  return { ...eight, strategy: across ? 'group' : 'token', group_size: across ?? null, dynamic: true };
}
