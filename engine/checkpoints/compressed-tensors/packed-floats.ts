import { bytesOf, decodeFloat8E4m3, E4M3, float32View, minifloatCode } from '../../numbers';
import type { MinifloatLinear } from '../../quantizers/grids/minifloat-grid';
import { recipeOfFloats, type Tensor } from '../../spec';
import type { ExpectedTensor, LinearSettings, LinearSource } from '../linear-storage';
import { encodeInputScale, inputScaleTensor, readInputScale } from './input-scale';
import { LinearParts } from './linear-parts';

/** What E8M0 adds to an exponent. */
const BIAS = 127;

/** How the scales of groups are stored. */
const SCALES = {
  mxfp4: {
    dtype: 'U8',
    encode: (scale: number) => Math.log2(scale) + BIAS,
    decode: (bytes: Uint8Array) => Float32Array.from(bytes, (exponent) => 2 ** (exponent - BIAS)),
    hasGlobalScale: false,
  },
  nvfp4: {
    dtype: 'F8_E4M3',
    encode: (scale: number) => minifloatCode(E4M3, scale),
    decode: decodeFloat8E4m3,
    hasGlobalScale: true,
  },
} as const;
type PackedFloatType = keyof typeof SCALES;

/**
 * A linear in floats of 4 bits as the tensors of mxfp4- and nvfp4-pack-quantized. K: columns, N: rows, G: columns of a group.
 *
 * - `<name>.weight_packed` U8 `[N, K / 2]`: two floats a byte, the first in the lower half
 * - `<name>.weight_scale` `[N, K / G]`: U8, exponents with 127 added, or F8_E4M3
 * - `<name>.weight_global_scale` F32 `[1]`, nvfp4 only: what scales are divided by
 * - `<name>.input_global_scale` F32 `[1]`, nvfp4 with rounded inputs: the same of the scales of inputs
 *
 * Source: compressed-tensors 0.19, compressors/nvfp4 and mxfp4.
 */
export function encodePackedFloats(name: string, linear: MinifloatLinear): Map<string, Tensor> {
  const { rows, columns, codes, scales, globalScale } = linear;
  const { dtype, encode } = SCALES[linear.floatType as PackedFloatType];
  const packed = Uint8Array.from({ length: codes.length / 2 }, (_, pair) => {
    return (codes[2 * pair] as number) | ((codes[2 * pair + 1] as number) << 4);
  });
  const tensors: [string, Tensor][] = [
    ['weight_packed', { dtype: 'U8', shape: [rows, columns / 2], data: packed }],
    ['weight_scale', { dtype, shape: [rows, scales.length / rows], data: Uint8Array.from(scales, encode) }],
  ];
  if (globalScale !== null) {
    tensors.push(['weight_global_scale', { dtype: 'F32', shape: [1], data: bytesOf(Float32Array.of(globalScale)) }]);
  }
  const named = tensors.map(([part, tensor]): [string, Tensor] => [`${name}.${part}`, tensor]);
  return new Map([...named, ...encodeInputScale(name, linear)]);
}

/** The tensors that such a linear has, by part. */
export function packedFloatTensors(
  { floatType, activations }: LinearSettings,
  [rows, columns]: readonly [number, number],
): Record<string, ExpectedTensor> {
  const { dtype, hasGlobalScale } = SCALES[floatType as PackedFloatType];
  const { groupSize } = recipeOfFloats(floatType as PackedFloatType);
  return {
    weight_packed: { shape: [rows, columns / 2], dtypes: ['U8'] },
    weight_scale: { shape: [rows, columns / groupSize], dtypes: [dtype] },
    ...(hasGlobalScale && { weight_global_scale: { shape: [1], dtypes: ['F32'] } }),
    ...inputScaleTensor({ activations }),
  };
}

/** Reads what `encodePackedFloats` or llm-compressor wrote. @throws QuantloomError InvalidCheckpoint. */
export async function readPackedFloats(module: string, source: LinearSource): Promise<MinifloatLinear> {
  const floatType = source.settings.floatType as PackedFloatType;
  const { dtype, decode, hasGlobalScale } = SCALES[floatType];
  const parts = new LinearParts(module, source);
  const packed = await parts.read('weight_packed', ['U8']);
  const [rows = 0, pairs = 0] = packed.shape;
  const columns = 2 * pairs;
  const { groupSize } = recipeOfFloats(floatType);
  if (packed.shape.length !== 2 || rows === 0 || columns === 0 || columns % groupSize !== 0) {
    throw parts.invalid('weight_packed', JSON.stringify(packed.shape), `rows of groups of ${groupSize} weights`);
  }
  const scales = await parts.read('weight_scale', [dtype], [[rows, columns / groupSize]]);
  const globalScale = hasGlobalScale ? await parts.read('weight_global_scale', ['F32'], [[1]]) : null;
  const codes = new Uint8Array(rows * columns);
  packed.data.forEach((pair, at) => {
    codes[2 * at] = pair & 15;
    codes[2 * at + 1] = pair >>> 4;
  });
  return {
    ...{ kind: 'minifloat', rows, columns, floatType, codes },
    scales: decode(scales.data),
    globalScale: globalScale && (float32View(globalScale.data)[0] as number),
    ...(await readInputScale(parts, source.settings)),
  };
}
