import { QuantloomError } from '../../spec';
import type { LinearSettings, LinearSource, LinearStorage } from '../linear-storage';
import { blockSettings, blockTypeFor } from './block-settings';
import type { BlockType, BlockTypeName } from './blocks/block-type';
import { BLOCK_TYPES } from './blocks/block-types';
import { decodeBlocks } from './blocks/encode-blocks';
import { readRawBlocks } from './raw-blocks';

/** The bytes of a matrix in blocks, `[rows, bytes of a row]`; which type is said beside it (`settings.layout`). */
export const BLOCKS = 'blocks';

/** Linears in blocks of GGUF, of every producer. In a file their names are GGUF's, and some of their rows in another order. */
export const ggufStorage: LinearStorage = {
  method: 'gguf',
  // Types of other producers have grids of their own.
  grids: [],
  parts: [BLOCKS],
  settingsFor: (recipe) => blockSettings(BLOCK_TYPES[blockTypeFor(recipe)]),

  shape(settings, shapeOf) {
    const { blockSize, blockBytes } = typeOf(settings);
    const [rows = 0, bytes = 0] = shapeOf(BLOCKS);
    return [rows, (bytes / blockBytes) * blockSize];
  },

  tensors: (settings, [rows, columns]) => ({
    [BLOCKS]: { shape: [rows, rowBytes(typeOf(settings), columns)], dtypes: ['U8'] },
  }),

  async read(module, { where, settings, read }: LinearSource) {
    const type = typeOf(settings);
    const tensor = await read(`${module}.${BLOCKS}`);
    const [rows = 0, bytes = 0] = tensor?.shape ?? [];
    if (tensor?.shape.length !== 2 || bytes % type.blockBytes !== 0) {
      const found = tensor ? `has shape [${tensor.shape.join(', ')}]` : 'is missing';
      throw new QuantloomError(
        'InvalidCheckpoint',
        `${where}: ${module}.${BLOCKS} ${found}; expected [rows, a multiple of ${type.blockBytes} bytes], as ${type.name} has.`,
      );
    }
    return {
      shape: [rows, (bytes / type.blockBytes) * type.blockSize],
      data: decodeBlocks(type, tensor.data),
    };
  },

  readRaw: readRawBlocks,
};

function typeOf({ layout }: LinearSettings): BlockType {
  return BLOCK_TYPES[layout as BlockTypeName];
}

function rowBytes({ blockSize, blockBytes }: BlockType, columns: number): number {
  return (columns / blockSize) * blockBytes;
}
