import type { LinearStorage } from '../linear-storage';
import { readLinear } from './decode-linear';
import { CODES_PER_WORD, GEMM, groupsOf } from './layout';
import { readRawLinear } from './raw-linear';
import { readConfig } from './read-config';

/** AWQ of every producer, in the GEMM layout. */
export const awqStorage = {
  method: 'awq',
  grids: ['affine'],
  parts: ['qweight', 'qzeros', 'scales'],

  describe: readConfig,

  // Symmetric linears have zero points too, all of them in the middle.
  settingsFor: ({ bits, groupSize }) => ({ bits, groupSize, symmetric: false, layout: GEMM }),

  shape(_, shapeOf) {
    const [columns = 0, words = 0] = shapeOf('qweight');
    return [words * CODES_PER_WORD, columns];
  },

  tensors({ groupSize }, [rows, columns]) {
    const groups = groupsOf(columns, groupSize);
    const words = rows / CODES_PER_WORD;
    return {
      qweight: { shape: [columns, words], dtypes: ['I32'] },
      qzeros: { shape: [groups, words], dtypes: ['I32'] },
      scales: { shape: [groups, rows], dtypes: ['F16', 'BF16', 'F32'] },
    };
  },

  read: readLinear,
  readRaw: readRawLinear,
} satisfies LinearStorage;
