import { decodeFloat8E4m3, decodeFloats } from '../../numbers';
import { QuantloomError, type Tensor } from '../../spec';
import type { LinearStorage } from '../linear-storage';

const SCALE = 'weight_scale_inv';

/**
 * FP8 in square blocks as DeepSeek V3 and Qwen3-FP8 have it (transformers, `FineGrainedFP8Config`): a weight is its F8_E4M3 value times
 * its block's `weight_scale_inv`, `[ceil(rows / b), ceil(columns / b')]`. For reading only.
 */
export const fp8Storage: LinearStorage = {
  method: 'fp8',
  grids: [],
  parts: ['weight', SCALE],
  markers: [SCALE],

  describe(raw) {
    const size = blockSizeOf(raw.weight_block_size);
    const settings = { bits: 8, groupSize: size[1], symmetric: true, layout: `fp8 ${size.join('x')}` };
    return { layout: settings.layout, settingsOf: () => settings };
  },

  shape: (_, shapeOf) => shapeOf('weight') as [number, number],

  tensors({ layout }, [rows, columns]) {
    const [height, width] = blockSize(layout);
    return {
      weight: { shape: [rows, columns], dtypes: ['F8_E4M3'] },
      [SCALE]: { shape: [Math.ceil(rows / height), Math.ceil(columns / width)], dtypes: ['F32', 'BF16'] },
    };
  },

  async read(module, { where, settings, read }) {
    const [weight, scale] = [await read(`${module}.weight`), await read(`${module}.${SCALE}`)];
    const [height, width] = blockSize(settings.layout);
    const [rows = 0, columns = 0] = weight?.shape ?? [];
    const across = Math.ceil(columns / width);
    const expected = [Math.ceil(rows / height), across];
    if (weight?.dtype !== 'F8_E4M3' || weight.shape.length !== 2 || scale?.shape.join() !== expected.join()) {
      throw new QuantloomError(
        'InvalidCheckpoint',
        `${where}: ${module} has weight ${described(weight)} and ${SCALE} ${described(scale)}; expected F8_E4M3 and [${expected.join(', ')}], one per block of ${height} x ${width}.`,
      );
    }
    const data = decodeFloat8E4m3(weight.data);
    const scales = decodeFloats(scale);
    for (let row = 0; row < rows; row++) {
      const band = Math.floor(row / height) * across;
      for (let column = 0; column < columns; column++) {
        const at = row * columns + column;
        data[at] = (data[at] as number) * (scales[band + Math.floor(column / width)] as number);
      }
    }
    return { shape: [rows, columns], data };
  },

  // Nothing here writes it.
  readRaw: async () => null,
};

function blockSizeOf(value: unknown): [number, number] {
  if (Array.isArray(value) && value.length === 2 && value.every((size) => Number.isInteger(size) && size > 0)) {
    return value as [number, number];
  }
  throw new QuantloomError(
    'UnsupportedInput',
    `quantization_config.weight_block_size is ${JSON.stringify(value ?? null)}; FP8 weights in blocks, as [128, 128], can be read.`,
  );
}

function blockSize(layout: string): [number, number] {
  return layout.replace('fp8 ', '').split('x').map(Number) as [number, number];
}

function described(tensor: Tensor | null): string {
  return tensor ? `${tensor.dtype} [${tensor.shape.join(', ')}]` : 'missing';
}
