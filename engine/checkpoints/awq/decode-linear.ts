import { decodeFloats, int32View, transposedBytes } from '../../numbers';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import { DTYPE_BITS, QuantloomError, type Tensor } from '../../spec';
import type { LinearSource } from '../linear-storage';
import { AWQ_BITS, CODES_PER_WORD, groupsOf } from './layout';
import { unpackRows } from './pack-rows';

const MIDDLE = 2 ** (AWQ_BITS - 1);

/**
 * Reads what `encodeLinear`, AutoAWQ or GPTQModel wrote.
 *
 * @throws QuantloomError InvalidCheckpoint naming the tensor, what it is and what it should be.
 */
export async function readLinear(module: string, { where, settings, read }: LinearSource): Promise<AffineLinear> {
  const packed = await required('qweight', ['I32']);
  const [K = 0, words = 0] = packed.shape;
  const N = words * CODES_PER_WORD;
  const groupSize = settings.groupSize === -1 ? K : settings.groupSize;
  const G = groupsOf(K, groupSize);
  if (packed.shape.length !== 2 || N === 0 || K === 0 || !Number.isInteger(G)) {
    throw invalid(
      'qweight',
      packed.shape,
      `a multiple of the group size ${groupSize} by words of ${CODES_PER_WORD} rows`,
    );
  }
  const qzeros = await required('qzeros', ['I32'], [G, words]);
  const scales = await required('scales', ['F16', 'BF16', 'F32'], [G, N]);
  const zeros = unpackRows(int32View(qzeros.data), [N, G]);
  return {
    kind: 'affine',
    rows: N,
    columns: K,
    bits: AWQ_BITS,
    groupSize,
    symmetric: zeros.every((zero) => zero === MIDDLE),
    codes: unpackRows(int32View(packed.data), [N, K]),
    scales: decodeFloats({
      dtype: scales.dtype,
      shape: [N, G],
      data: transposedBytes(scales.data, G, DTYPE_BITS[scales.dtype] / 8),
    }),
    zeros,
    groupOf: Int32Array.from({ length: K }, (_, column) => Math.floor(column / groupSize)),
  };

  async function required(part: string, dtypes: readonly string[], shape?: readonly number[]): Promise<Tensor> {
    const tensor = await read(`${module}.${part}`);
    if (!tensor) {
      throw new QuantloomError('InvalidCheckpoint', `${where}: ${module}.${part} is missing beside ${module}.qweight.`);
    }
    if (!dtypes.includes(tensor.dtype)) throw invalid(part, tensor.dtype, dtypes.join(' or '));
    if (shape && tensor.shape.join() !== shape.join()) {
      throw invalid(part, tensor.shape, `${JSON.stringify(shape)} for the config's group size`);
    }
    return tensor;
  }

  function invalid(part: string, found: unknown, wanted: string): QuantloomError {
    const shown = typeof found === 'string' ? found : JSON.stringify(found);
    return new QuantloomError(
      'InvalidCheckpoint',
      `${module}.${part} is ${shown}, expected ${wanted}. The tensors and the quantization_config of config.json do not belong together.`,
      { details: { tensor: `${module}.${part}`, found, wanted } },
    );
  }
}
