import { bytesOf, encodeFloats } from '../../numbers';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import { QuantloomError, type Tensor } from '../../spec';
import { requireFloat16Scale } from '../float16-scale';
import { wordsOf } from './layout';
import { packColumns, packRows } from './pack-codes';
import { refuseShape } from './refuse';

/**
 * A quantized linear as the tensors of a compressed-tensors checkpoint. K: columns, N: rows, G: groups, b: bits.
 *
 * - `<name>.weight_packed` I32 `[N, K b / 32]`: codes packed along K, a little-endian stream without gaps
 * - `<name>.weight_scale` F16 `[N, G]`
 * - `<name>.weight_shape` I64 `[2]`: N, K
 * - `<name>.weight_zero_point` I32 `[ceil(N b / 32), G]`: zero points packed along N; asymmetric linears only
 *
 * Source: compressed-tensors 0.19, compressors/pack_quantized.
 *
 * @throws QuantloomError UnsupportedInput: what `refuseShape` says, groups that are not sequential, a scale that is no positive float16.
 */
export function encodePacked(name: string, linear: AffineLinear): Map<string, Tensor> {
  const { rows: N, columns: K, bits, groupSize, codes, scales, zeros, groupOf, symmetric } = linear;
  const G = scales.length / N;
  const sequential = groupOf.every((group, column) => group === Math.floor(column / groupSize));
  const refusal = refuseShape({ columns: K, groupSize, dynamic: !sequential });
  if (refusal) throw new QuantloomError('UnsupportedInput', `${name}: ${refusal}`, { details: { name } });
  scales.forEach((scale, at) => {
    requireFloat16Scale(name, scale, Math.floor(at / G), at % G);
  });

  const tensors = new Map<string, Tensor>([
    ['weight_packed', { dtype: 'I32', shape: [N, wordsOf(K, bits)], data: bytesOf(packRows(codes, [N, K], bits)) }],
    ['weight_scale', { dtype: 'F16', shape: [N, G], data: encodeFloats(scales, 'F16') }],
    ['weight_shape', { dtype: 'I64', shape: [2], data: bytesOf(new Int32Array([N, 0, K, 0])) }],
  ]);
  if (!symmetric) {
    const data = bytesOf(packColumns(zeros, [N, G], bits));
    tensors.set('weight_zero_point', { dtype: 'I32', shape: [wordsOf(N, bits), G], data });
  }
  return new Map([...tensors].map(([part, tensor]) => [`${name}.${part}`, tensor]));
}
