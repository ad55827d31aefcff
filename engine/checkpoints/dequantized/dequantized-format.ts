import { decodeFloats, encodeFloats } from '../../numbers';
import { DTYPE_BITS, type Tensor } from '../../spec';
import type { CheckpointFormat, FormatName } from '../format';
import { writtenModelConfig } from '../model-config';
import { safetensorsContainer } from '../safetensors-container';
import type { WeightForm } from '../weight-form';
import { floatStorage } from './float-storage';
import { floatWeight, floatWeightSha256 } from './float-weight';
import { loading } from './loading';

/**
 * A plain model whose weights are what the quantized ones stand for, of every method: for whatever loads models and knows nothing of codes.
 *
 * @param dtype of all tensors; null: of each, that of the source.
 */
function dequantizedAs(name: FormatName, dtype: 'F32' | null): CheckpointFormat {
  const formOf = (form: WeightForm = { dtype: 'F32' }): WeightForm => (dtype ? { ...form, dtype } : form);
  return {
    name,
    storage: floatStorage,
    container: safetensorsContainer,
    grids: ['affine', 'codebook', 'int8-rows', 'minifloat'],
    keptApart: true,
    smallestZero: 0,
    layout: () => name,
    refuse: () => null,
    encodeKept: async (tensorName, kept) => new Map([[tensorName, dtype && isHalf(kept) ? asFloat32(kept) : kept]]),
    storedWeightSha256: (linear, form) => floatWeightSha256(linear, formOf(form)),
    encodeLinear: (module, linear, _layout, form) =>
      new Map([[`${module}.weight`, floatWeight(module, linear, formOf(form))]]),

    config(context) {
      const config = writtenModelConfig(context);
      if (!dtype) return config;
      // transformers 4 reads torch_dtype.
      return { ...config, ...('torch_dtype' in config && { torch_dtype: 'float32' }), dtype: 'float32' };
    },

    files: () => new Map(),
    bitsPerWeight: (_linear, sourceBits = 16) => (dtype ? DTYPE_BITS[dtype] : sourceBits),
    loading: () => loading(dtype),
  };
}

function isHalf({ dtype }: Tensor): boolean {
  return dtype === 'F16' || dtype === 'BF16';
}

function asFloat32(tensor: Tensor): Tensor {
  return { ...tensor, dtype: 'F32', data: encodeFloats(decodeFloats(tensor), 'F32') };
}

export const dequantized = dequantizedAs('dequantized', null);
export const dequantizedFloat32 = dequantizedAs('dequantized-float32', 'F32');
