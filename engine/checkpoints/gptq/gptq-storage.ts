import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import { QuantloomError, type Tensor } from '../../spec';
import type { LinearSource, LinearStorage } from '../linear-storage';
import { isHead } from '../model-config';
import { decodeLinear, type GptqTensors } from './decode-linear';
import { type ModuleSettings, moduleSettings, readGptqConfig } from './module-settings';
import { readRawLinear } from './raw-linear';

const PARTS = ['qweight', 'qzeros', 'scales', 'g_idx'] as const;

/** GPTQ of every producer, v1, v2 and planar. */
export const gptqStorage: LinearStorage = {
  method: 'gptq',
  grids: ['affine'],
  parts: PARTS,

  describe(raw) {
    const config = readGptqConfig(raw);
    return {
      layout: config.layout,
      settingsOf: (module) => (isHead(module) && !config.lm_head ? null : moduleSettings(config, module)),
    };
  },

  shape({ bits }, shapeOf) {
    const [words = 0, rows = 0] = shapeOf('qweight');
    return [rows, (words * 32) / bits];
  },

  tensors({ bits, groupSize }, [rows, columns]) {
    const groups = groupSize === -1 ? 1 : Math.ceil(columns / groupSize);
    return {
      qweight: { shape: [(columns / 32) * bits, rows], dtypes: ['I32'] },
      qzeros: { shape: [groups, (rows / 32) * bits], dtypes: ['I32'] },
      scales: { shape: [groups, rows], dtypes: ['F16'] },
      g_idx: { shape: [columns], dtypes: ['I32'] },
    };
  },

  read: readLinear,
  readRaw: readRawLinear,
};

async function readLinear(module: string, { where, settings, read }: LinearSource): Promise<AffineLinear> {
  const parts: Partial<Record<(typeof PARTS)[number], Tensor>> = {};
  for (const part of PARTS) {
    const tensor = await read(`${module}.${part}`);
    if (tensor) parts[part] = tensor;
    else if (part !== 'g_idx') {
      throw new QuantloomError('InvalidCheckpoint', `${where}: ${module}.${part} is missing beside ${module}.qweight.`);
    }
  }
  return decodeLinear(module, parts as GptqTensors, settings as ModuleSettings);
}
