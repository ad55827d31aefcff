import { bytesOf, encodeFloats, transposedBytes } from '../../numbers';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import { QuantloomError, type Tensor } from '../../spec';
import { requireFloat16Scale } from '../float16-scale';
import { CODES_PER_WORD } from './layout';
import { packRows } from './pack-rows';
import { refuseShape } from './refuse';

/**
 * A quantized linear as the tensors of an AWQ checkpoint, GEMM layout. K: columns, N: rows, G: groups.
 *
 * - `<name>.qweight` I32 `[K, N / 8]`: codes of 4 bits packed along N, the rows of a word in the order 0 2 4 6 1 3 5 7
 * - `<name>.qzeros` I32 `[G, N / 8]`: zero points, packed alike
 * - `<name>.scales` F16 `[G, N]`
 *
 * Source: AutoAWQ 0.2, `WQLinear_GEMM`.
 *
 * @throws QuantloomError UnsupportedInput: what `refuseShape` says, groups that are not sequential, a scale that is no positive float16.
 */
export function encodeLinear(name: string, linear: AffineLinear): Map<string, Tensor> {
  const { rows: N, columns: K, bits, groupSize, codes, scales, zeros, groupOf } = linear;
  const G = scales.length / N;
  const dynamic = groupOf.some((group, column) => group !== Math.floor(column / groupSize));
  const refusal = refuseShape({ rows: N, columns: K, bits, groupSize, dynamic });
  if (refusal) throw new QuantloomError('UnsupportedInput', `${name}: ${refusal}`, { details: { name } });
  scales.forEach((scale, at) => {
    requireFloat16Scale(name, scale, Math.floor(at / G), at % G);
  });
  const words = N / CODES_PER_WORD;
  return new Map<string, Tensor>([
    [`${name}.qweight`, { dtype: 'I32', shape: [K, words], data: bytesOf(packRows(codes, [N, K])) }],
    [`${name}.qzeros`, { dtype: 'I32', shape: [G, words], data: bytesOf(packRows(zeros, [N, G])) }],
    [`${name}.scales`, { dtype: 'F16', shape: [G, N], data: transposedBytes(encodeFloats(scales, 'F16'), N, 2) }],
  ]);
}
