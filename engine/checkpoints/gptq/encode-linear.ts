import { bytesOf, encodeFloats } from '../../numbers';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import { QuantloomError, type Tensor } from '../../spec';
import { requireFloat16Scale } from '../float16-scale';
import { CODES_PER_BLOCK, packWords } from '../pack-words';
import { bitPlanes, type GptqLayout, storedZeroOffset } from './layout';

/**
 * A quantized linear as the tensors of a GPTQ checkpoint. K: columns, N: rows, G: groups, b: bits.
 *
 * - `<name>.qweight` I32 `[K b / 32, N]`: codes packed along K
 * - `<name>.qzeros` I32 `[G, N b / 32]`: zero points (less one in v1) packed along N
 * - `<name>.scales` F16 `[G, N]`
 * - `<name>.g_idx` I32 `[K]`: the group of each column
 *
 * @throws QuantloomError UnsupportedInput: sizes that are not multiples of 32, a zero point 0 in v1, a scale that is no positive float16.
 */
export function encodeLinear(name: string, linear: AffineLinear, layout: GptqLayout): Map<string, Tensor> {
  const { rows: N, columns: K, bits } = linear;
  const G = Math.ceil(K / linear.groupSize);
  requireMultiplesOf32(name, linear);
  const planes = bitPlanes(bits, layout);

  const qweight = packWords(linear.codes, planes, {
    lanes: N,
    length: K,
    codes: { lane: K, item: 1 },
    words: { lane: 1, item: N },
  });
  const qzeros = packWords(storedZeros(name, linear, layout), planes, {
    lanes: G,
    length: N,
    codes: { lane: 1, item: G },
    words: { lane: (N * bits) / 32, item: 1 },
  });

  const scales = new Float32Array(G * N);
  for (let row = 0; row < N; row++) {
    for (let group = 0; group < G; group++) {
      const scale = linear.scales[row * G + group] as number;
      requireFloat16Scale(name, scale, row, group);
      scales[group * N + row] = scale;
    }
  }

  return new Map<string, Tensor>([
    [`${name}.g_idx`, { dtype: 'I32', shape: [K], data: bytesOf(linear.groupOf) }],
    [`${name}.qweight`, { dtype: 'I32', shape: [(K * bits) / 32, N], data: bytesOf(qweight) }],
    [`${name}.qzeros`, { dtype: 'I32', shape: [G, (N * bits) / 32], data: bytesOf(qzeros) }],
    [`${name}.scales`, { dtype: 'F16', shape: [G, N], data: encodeFloats(scales, 'F16') }],
  ]);
}

function storedZeros(name: string, linear: AffineLinear, layout: GptqLayout): Uint8Array {
  const offset = storedZeroOffset(layout);
  if (offset === 0) return linear.zeros;
  const smallest = linear.zeros.indexOf(0);
  if (smallest >= 0) {
    const groups = Math.ceil(linear.columns / linear.groupSize);
    throw new QuantloomError(
      'UnsupportedInput',
      `${name}: the zero point of row ${Math.floor(smallest / groups)}, group ${smallest % groups} is 0, but the format gptq holds ` +
        'the zero point less one, at least 0. Quantize with zero points of at least 1, or write the format gptq_v2.',
      { details: { name, zero: 0, limit: 1 } },
    );
  }
  return linear.zeros.map((zero) => zero - offset);
}

function requireMultiplesOf32(name: string, { rows, columns }: AffineLinear): void {
  for (const [what, size] of Object.entries({ rows, columns })) {
    if (size % CODES_PER_BLOCK === 0) continue;
    throw new QuantloomError(
      'UnsupportedInput',
      `${name}: ${size} ${what} are not a multiple of 32, which GPTQ files need. Keep this linear in 16 bit (override with skip).`,
      { details: { name, [what]: size } },
    );
  }
}
