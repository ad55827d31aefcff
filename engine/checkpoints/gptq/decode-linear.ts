import { decodeFloats, int32View } from '../../numbers';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import { QuantloomError, type Tensor } from '../../spec';
import { unpackWords } from '../pack-words';
import { bitPlanes, type GptqLayout } from './layout';
import type { ModuleSettings } from './module-settings';

/** The tensors of one linear, by the last part of their names. */
export interface GptqTensors {
  readonly qweight: Tensor;
  readonly qzeros: Tensor;
  readonly scales: Tensor;
  /** Absent in some old files: groups are then sequential. */
  readonly g_idx?: Tensor;
}

/**
 * Reads what `encodeLinear`, GPTQModel, AutoGPTQ or optimum wrote.
 *
 * The `checkpoint_format` of foreign files is not to be trusted (v2 zero points are found under `gptq`): when the config says
 * symmetric and every stored zero point is 2^(b-1) or every one is 2^(b-1) - 1, that decides between v2 and v1.
 *
 * @param name of the module, for messages
 * @throws QuantloomError InvalidCheckpoint naming the tensor, what it is and what it should be.
 */
export function decodeLinear(name: string, tensors: GptqTensors, settings: ModuleSettings): AffineLinear {
  const { bits, layout } = settings;
  const N = tensors.qweight.shape[1] ?? 0;
  const K = ((tensors.qweight.shape[0] ?? 0) * 32) / bits;
  if (
    tensors.qweight.shape.length !== 2 ||
    N === 0 ||
    K === 0 ||
    !Number.isInteger(K) ||
    K % 32 !== 0 ||
    N % 32 !== 0
  ) {
    throw invalid(
      name,
      'qweight',
      tensors.qweight.shape,
      `a multiple of ${bits} words by a multiple of 32 at ${bits} bits`,
    );
  }
  const groupSize = settings.groupSize === -1 ? K : settings.groupSize;
  const G = Math.ceil(K / groupSize);
  requireTensor(name, 'qweight', tensors.qweight, ['I32', 'U32'], [(K * bits) / 32, N]);
  requireTensor(name, 'qzeros', tensors.qzeros, ['I32', 'U32'], [G, (N * bits) / 32]);
  requireTensor(name, 'scales', tensors.scales, ['F16', 'BF16', 'F32'], [G, N]);

  const planes = bitPlanes(bits, layout);
  const codes = unpackWords(int32View(tensors.qweight.data), planes, {
    lanes: N,
    length: K,
    codes: { lane: K, item: 1 },
    words: { lane: 1, item: N },
  });
  const stored = unpackWords(int32View(tensors.qzeros.data), planes, {
    lanes: G,
    length: N,
    codes: { lane: 1, item: G },
    words: { lane: (N * bits) / 32, item: 1 },
  });
  const offset = zeroOffset(stored, settings, layout);
  const mask = 2 ** bits - 1;
  const zeros = offset === 0 ? stored : stored.map((value) => (value + offset) & mask);
  const middle = 2 ** (bits - 1);

  const transposed = decodeFloats(tensors.scales);
  const scales = new Float32Array(N * G);
  for (let group = 0; group < G; group++) {
    for (let row = 0; row < N; row++) scales[row * G + group] = transposed[group * N + row] as number;
  }

  return {
    kind: 'affine',
    rows: N,
    columns: K,
    bits: bits as AffineLinear['bits'],
    groupSize,
    symmetric: settings.symmetric && zeros.every((zero) => zero === middle),
    codes,
    scales,
    zeros,
    groupOf: groupIndex(name, tensors.g_idx, K, groupSize, G),
  };
}

function zeroOffset(stored: Uint8Array, settings: ModuleSettings, layout: GptqLayout): 0 | 1 {
  const middle = 2 ** (settings.bits - 1);
  if (settings.symmetric) {
    if (stored.every((value) => value === middle)) return 0;
    if (stored.every((value) => value === middle - 1)) return 1;
  }
  return layout === 'gptq' ? 1 : 0;
}

function groupIndex(name: string, tensor: Tensor | undefined, K: number, groupSize: number, G: number): Int32Array {
  if (!tensor) return Int32Array.from({ length: K }, (_, column) => Math.floor(column / groupSize));
  requireTensor(name, 'g_idx', tensor, ['I32'], [K]);
  const groupOf = int32View(tensor.data);
  const wrong = groupOf.findIndex((group) => group < 0 || group >= G);
  if (wrong < 0) return groupOf;
  throw new QuantloomError(
    'InvalidCheckpoint',
    `${name}.g_idx: column ${wrong} is in group ${groupOf[wrong]}, but there are ${G} groups. The file is damaged or of another group size.`,
    { details: { tensor: `${name}.g_idx`, column: wrong, group: groupOf[wrong], groups: G } },
  );
}

function requireTensor(name: string, part: string, tensor: Tensor, dtypes: string[], shape: number[]): void {
  if (tensor.shape.length !== shape.length || tensor.shape.some((size, axis) => size !== shape[axis])) {
    throw invalid(name, part, tensor.shape, `[${shape.join(', ')}] for the config's bits and group size`);
  }
  if (!dtypes.includes(tensor.dtype)) throw invalid(name, part, tensor.dtype, dtypes.join(' or '));
}

function invalid(name: string, part: string, found: unknown, wanted: string): QuantloomError {
  return new QuantloomError(
    'InvalidCheckpoint',
    `${name}.${part} is ${typeof found === 'string' ? found : JSON.stringify(found)}, expected ${wanted}. The tensors and the quantization_config of config.json do not belong together.`,
    { details: { tensor: `${name}.${part}`, found, wanted } },
  );
}
