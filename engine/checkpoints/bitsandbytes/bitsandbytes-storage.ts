import type { ExpectedTensor, LinearStorage } from '../linear-storage';
import { readLinear, readQuantState } from './decode-linear';
import { FOUR_BIT_PARTS, INT8_PARTS } from './layout';
import { readRawLinear } from './raw-linear';
import { readConfig } from './read-config';

const { absmax, quantMap, nestedAbsmax, nestedQuantMap, state } = FOUR_BIT_PARTS;

/** bitsandbytes of every producer: NF4 and FP4 in bytes, double quantized or not, and int8. */
export const bitsandbytesStorage: LinearStorage = {
  method: 'bitsandbytes',
  grids: ['codebook', 'int8-rows'],
  parts: [
    'weight',
    ...[absmax, quantMap, nestedAbsmax, nestedQuantMap, state.nf4, state.fp4],
    ...[INT8_PARTS.scale, INT8_PARTS.format],
  ],
  // Dense modules have a weight too.
  markers: [absmax, INT8_PARTS.scale],

  describe: readConfig,

  async shape({ layout }, shapeOf, read) {
    if (layout !== 'int8') return (await readQuantState({ find: read, nameOf: (part) => part })).shape;
    const [rows = 0, columns = 0] = shapeOf('weight');
    return [rows, columns];
  },

  tensors({ layout }, [rows, columns]): Record<string, ExpectedTensor> {
    if (layout === 'int8') {
      return {
        weight: { shape: [rows, columns], dtypes: ['I8'] },
        [INT8_PARTS.scale]: { shape: [rows], dtypes: ['F32'] },
        [INT8_PARTS.format]: { shape: [], dtypes: ['U8'], optional: true },
      };
    }
    return {
      weight: { shape: [Math.ceil((rows * columns) / 2), 1], dtypes: ['U8'] },
      [absmax]: { shape: [null], dtypes: ['F32', 'U8'] },
      [quantMap]: { shape: [16], dtypes: ['F32'] },
      [nestedAbsmax]: { shape: [null], dtypes: ['F32'], optional: true },
      [nestedQuantMap]: { shape: [256], dtypes: ['F32'], optional: true },
      [state[layout as 'nf4' | 'fp4']]: { shape: [null], dtypes: ['U8'] },
    };
  },

  read: readLinear,
  readRaw: readRawLinear,
};
