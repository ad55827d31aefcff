import type { ExpectedTensor, LinearStorage } from '../linear-storage';
import { readLinear } from './decode-linear';
import { groupsOf, PACK_QUANTIZED, wordsOf } from './layout';
import { readRawLinear } from './raw-linear';
import { readConfig } from './read-config';

/** compressed-tensors of every producer, as far as it is pack-quantized: integer weights, activations as they are. */
export const compressedTensorsStorage = {
  method: 'compressed-tensors',
  grids: ['affine'],
  parts: ['weight_packed', 'weight_scale', 'weight_zero_point', 'weight_shape', 'weight_g_idx'],

  describe: (raw) => ({ layout: PACK_QUANTIZED, settingsOf: readConfig(raw) }),

  shape({ bits }, shapeOf) {
    const [rows = 0, words = 0] = shapeOf('weight_packed');
    return [rows, (words * 32) / bits];
  },

  tensors({ bits, groupSize, symmetric }, [rows, columns]): Readonly<Record<string, ExpectedTensor>> {
    const groups = groupsOf(columns, groupSize);
    return {
      weight_packed: { shape: [rows, wordsOf(columns, bits)], dtypes: ['I32'] },
      weight_scale: { shape: [rows, groups], dtypes: ['F16', 'BF16', 'F32'] },
      weight_shape: { shape: [2], dtypes: ['I64'] },
      ...(symmetric ? {} : { weight_zero_point: { shape: [wordsOf(rows, bits), groups], dtypes: ['I32'] } }),
      weight_g_idx: { shape: [columns], dtypes: ['I32'], optional: true },
    };
  },

  read: readLinear,
  readRaw: readRawLinear,
} satisfies LinearStorage;
