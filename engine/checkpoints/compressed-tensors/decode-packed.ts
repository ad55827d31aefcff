import { decodeFloats, int32View } from '../../numbers';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import { QuantloomError, type Tensor } from '../../spec';
import type { LinearSource } from '../linear-storage';
import { groupsOf, wordsOf } from './layout';
import { unpackColumns, unpackRows } from './pack-codes';

/**
 * Reads what `encodePacked` or llm-compressor wrote; `weight_g_idx` of old files too.
 *
 * compressed-tensors multiplies in the dtype of the scales; here the product is float32, and the scale what the file holds.
 *
 * @throws QuantloomError InvalidCheckpoint naming the tensor, what it is and what it should be.
 */
export async function readPacked(module: string, { where, settings, read }: LinearSource): Promise<AffineLinear> {
  const { bits, symmetric } = settings;
  const packed = await required('weight_packed', ['I32']);
  const [N = 0, words = 0] = packed.shape;
  const K = (words * 32) / bits;
  const gaps =
    32 % bits === 0
      ? ''
      : ' without gaps (compressed-tensors before 0.18 left gaps at this width: save it again with a later one)';
  if (packed.shape.length !== 2 || N === 0 || K === 0 || K % 32 !== 0) {
    throw invalid(
      'weight_packed',
      packed.shape,
      `rows of words that hold a multiple of 32 codes of ${bits} bits${gaps}`,
    );
  }
  await requireShape();
  const groupSize = settings.groupSize === -1 ? K : settings.groupSize;
  const G = groupsOf(K, groupSize);
  const scales = await required('weight_scale', ['F16', 'BF16', 'F32'], [N, G]);
  const zeros = symmetric
    ? new Uint8Array(N * G).fill(2 ** (bits - 1))
    : unpackColumns(
        int32View((await required('weight_zero_point', ['I32'], [wordsOf(N, bits), G])).data),
        [N, G],
        bits,
      );
  return {
    kind: 'affine',
    rows: N,
    columns: K,
    bits: bits as AffineLinear['bits'],
    groupSize,
    symmetric,
    codes: unpackRows(int32View(packed.data), [N, K], bits),
    scales: decodeFloats(scales),
    zeros,
    groupOf: await groupIndex(),
  };

  async function requireShape(): Promise<void> {
    const shape = await required('weight_shape', ['I64'], [2]);
    const stored = [...int32View(shape.data)];
    if (stored.join() !== [N, 0, K, 0].join()) {
      const found = [stored[0] as number, stored[2] as number];
      throw invalid('weight_shape', found, `${JSON.stringify([N, K])}, which is what weight_packed holds${gaps}`);
    }
  }

  /** Old files name the group of each column; -1 where they do not. */
  async function groupIndex(): Promise<Int32Array> {
    const tensor = await read(`${module}.weight_g_idx`);
    const sequential = () => Int32Array.from({ length: K }, (_, column) => Math.floor(column / groupSize));
    if (!tensor) return sequential();
    const groupOf = int32View(checked('weight_g_idx', tensor, ['I32'], [K]).data);
    if (groupOf.includes(-1)) return sequential();
    const wrong = groupOf.findIndex((group) => group < 0 || group >= G);
    if (wrong < 0) return groupOf;
    throw invalid('weight_g_idx', `group ${groupOf[wrong]} for column ${wrong}`, `one of ${G} groups`);
  }

  async function required(part: string, dtypes: readonly string[], shape?: readonly number[]): Promise<Tensor> {
    const tensor = await read(`${module}.${part}`);
    if (tensor) return checked(part, tensor, dtypes, shape);
    throw new QuantloomError(
      'InvalidCheckpoint',
      `${where}: ${module}.${part} is missing beside ${module}.weight_packed.`,
    );
  }

  function checked(part: string, tensor: Tensor, dtypes: readonly string[], shape = tensor.shape): Tensor {
    if (!dtypes.includes(tensor.dtype)) throw invalid(part, tensor.dtype, dtypes.join(' or '));
    if (tensor.shape.join() !== shape.join()) {
      throw invalid(part, tensor.shape, `${JSON.stringify(shape)} for the config's bits and group size`);
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
