import { bytesOf, decodeFloats, encodeFloats } from '../../numbers';
import { scaleLayout } from '../../quantizers';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import type { MinifloatLinear } from '../../quantizers/grids/minifloat-grid';
import { elementCount, type FloatType, type Recipe, type Tensor } from '../../spec';
import { requireFloat16Scale } from '../float16-scale';
import type { ExpectedTensor, LinearSettings, LinearSource } from '../linear-storage';
import { encodeInputScale, inputScaleTensor, readInputScale } from './input-scale';
import { LinearParts } from './linear-parts';

const BITS = 8;
const MIDDLE = 2 ** (BITS - 1);
const SCALES = ['F16', 'BF16', 'F32'];

/**
 * A linear with a byte for each weight as the tensors of int-, float- and naive-quantized. K: columns, N: rows.
 *
 * - `<name>.weight` I8 or F8_E4M3 `[N, K]`: codes less 128, or floats
 * - `<name>.weight_scale` F16 `[N, 1]` of integers, `[1]` with one for all; BF16 of floats: `[N, 1]`, `[1]` or `[ceil(N / 128), ceil(K / 128)]`
 * - `<name>.input_scale` BF16 `[1]`, where every input is quantized with it
 *
 * Source: compressed-tensors 0.19, compressors/naive_quantized.
 *
 * @throws QuantloomError UnsupportedInput for a scale that is no positive float16.
 */
export function encodePlain(name: string, linear: AffineLinear | MinifloatLinear): Map<string, Tensor> {
  const { rows, columns, scales } = linear;
  const weight: Tensor =
    linear.kind === 'affine'
      ? { dtype: 'I8', shape: [rows, columns], data: bytesOf(Int8Array.from(linear.codes, (code) => code - MIDDLE)) }
      : { dtype: 'F8_E4M3', shape: [rows, columns], data: linear.codes };
  if (linear.kind === 'affine') {
    scales.forEach((scale, row) => {
      requireFloat16Scale(name, scale, row, 0);
    });
  }
  const scale: Tensor =
    linear.kind === 'affine'
      ? integerScales(linear)
      : { dtype: 'BF16', shape: scaleShape(linear.floatType, rows, columns), data: encodeFloats(scales, 'BF16') };
  return new Map([[`${name}.weight`, weight], [`${name}.weight_scale`, scale], ...encodeInputScale(name, linear)]);
}

/** The tensors that such a linear has, by part. */
export function plainTensors(
  { floatType, symmetric, perTensor, activations }: LinearSettings,
  [rows, columns]: readonly [number, number],
): Record<string, ExpectedTensor> {
  const scale = floatType ? scaleShape(floatType, rows, columns) : integerShape(rows, perTensor);
  return {
    weight: { shape: [rows, columns], dtypes: [floatType ? 'F8_E4M3' : 'I8'] },
    weight_scale: { shape: scale, dtypes: SCALES },
    ...(symmetric ? {} : { weight_zero_point: { shape: scale, dtypes: ['I8'] } }),
    ...inputScaleTensor({ activations }),
  };
}

/** Reads what `encodePlain` or llm-compressor wrote. @throws QuantloomError InvalidCheckpoint. */
export async function readPlain(module: string, source: LinearSource): Promise<AffineLinear | MinifloatLinear> {
  const { floatType, symmetric, perTensor } = source.settings;
  const parts = new LinearParts(module, source);
  const weight = await parts.read('weight', [floatType ? 'F8_E4M3' : 'I8']);
  const [rows = 0, columns = 0] = weight.shape;
  if (weight.shape.length !== 2 || rows === 0 || columns === 0) {
    throw parts.invalid('weight', JSON.stringify(weight.shape), 'rows and columns');
  }
  if (floatType) {
    const scales = decodeFloats(await parts.read('weight_scale', SCALES, [scaleShape(floatType, rows, columns)]));
    const inputs = await readInputScale(parts, source.settings);
    return { kind: 'minifloat', rows, columns, floatType, codes: weight.data, scales, globalScale: null, ...inputs };
  }
  const shape = integerShape(rows, perTensor);
  const scales = decodeFloats(await parts.read('weight_scale', SCALES, [shape]));
  const stored = symmetric ? null : await parts.read('weight_zero_point', ['I8'], [shape]);
  const zeros = stored ? unsigned(stored.data) : new Uint8Array(rows).fill(MIDDLE);
  return {
    ...{ kind: 'affine', rows, columns, bits: BITS, groupSize: columns, symmetric, ...(perTensor && { perTensor }) },
    codes: unsigned(weight.data),
    scales: perTensor ? new Float32Array(rows).fill(scales[0] as number) : scales,
    zeros: perTensor ? new Uint8Array(rows).fill(zeros[0] as number) : zeros,
    groupOf: new Int32Array(columns),
  };
}

/** Bits of all scales. */
export function plainScaleBits(
  { floatType, perTensor }: Pick<Recipe, 'floatType' | 'perTensor'>,
  rows: number,
  columns: number,
): number {
  return 16 * elementCount(floatType ? scaleShape(floatType, rows, columns) : integerShape(rows, perTensor));
}

function integerScales({ scales, perTensor, rows }: AffineLinear): Tensor {
  const stored = perTensor ? scales.subarray(0, 1) : scales;
  return { dtype: 'F16', shape: integerShape(rows, perTensor), data: encodeFloats(stored, 'F16') };
}

/** Of scales, and zero points. */
function integerShape(rows: number, perTensor: true | undefined): number[] {
  return perTensor ? [1] : [rows, 1];
}

/** int8 with 128 added. */
function unsigned(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(bytes, (byte) => byte ^ MIDDLE);
}

function scaleShape(floatType: FloatType, rows: number, columns: number): number[] {
  if (floatType === 'fp8-tensor') return [1];
  const layout = scaleLayout(floatType, rows, columns);
  return [layout.rows, layout.columns];
}
