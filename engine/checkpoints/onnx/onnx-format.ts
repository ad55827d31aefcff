import { architectureOf } from '../../models';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import type { Recipe } from '../../spec';
import type { CheckpointFormat } from '../format';
import { writtenModelConfig } from '../model-config';
import { requireHeadSize } from './decoder-model';
import { loading } from './loading';
import { isModelFile, modelFiles, modelFilesOf, onnxModelConfig } from './model-files';
import { packedTensors } from './nbits-tensors';
import { blockSizeOf, nbitsWeight, type StoredBits, storedBits } from './nbits-weight';
import { onnxContainer } from './onnx-container';
import { encodeKept, keptInIntegers, recordKept, refuseEmbedding } from './onnx-embedding';
import { onnxStorage } from './onnx-storage';

const SCALE_BITS = 32;

/** ONNX for onnxruntime, onnxruntime-genai and transformers.js: the decoder as a graph, codes as MatMulNBits takes them. */
export const onnx: CheckpointFormat = {
  name: 'onnx',
  storage: onnxStorage,
  container: onnxContainer,
  grids: ['affine'],
  keptApart: true,
  smallestZero: 0,

  /** What transformers.js calls it: by the smallest width. */
  layout(linears) {
    const widths = linears.flatMap(({ recipe }) => (recipe ? [storedBits(recipe.bits)] : []));
    return modelFiles(widths.length === 0 ? null : (Math.min(...widths) as StoredBits)).dtype;
  },

  // All of our group sizes are multiples of 16.
  refuse: () => null,

  warn(linears) {
    const widths = new Set(linears.flatMap(({ recipe }) => recipe?.bits ?? []));
    const padded = [...widths].filter((bits) => Number.isInteger(bits) && storedBits(bits) !== bits).sort();
    if (padded.length === 0) return null;
    const places = padded.map((bits) => `${bits} in ${storedBits(bits)}`).join(', ');
    return `MatMulNBits has 2, 4 and 8 bits: codes of other widths are stored in the next one, bits ${places}, which saves nothing over it.`;
  },

  async requireWritable({ config, tensors }) {
    requireHeadSize(architectureOf(config, (name) => name in tensors).shape(config));
  },

  keptStorage: (plan) => keptInIntegers(plan, (recipe, columns) => bitsAt(recipe.bits, recipe, columns)),
  refuseEmbedding,
  encodeKept,
  recordKept,
  encodeLinear: (module, linear) => packedTensors(module, nbitsWeight(module, linear as AffineLinear)),

  config(context) {
    const files = modelFilesOf(context.layout);
    const dataFiles = (context.weightFiles ?? []).filter((name) => isModelFile(name) && name !== files.model);
    return onnxModelConfig(writtenModelConfig(context), files, dataFiles.length);
  },

  files: () => new Map(),

  bitsPerWeight({ recipe, columns }, sourceBits = 16) {
    if (recipe === null) return sourceBits;
    // Where widths are not chosen yet, their mean stands in place of bits: as much as the widths around it take.
    const [below, above] = [Math.floor(recipe.bits), Math.ceil(recipe.bits)].map((bits) =>
      bitsAt(bits, recipe, columns),
    ) as [number, number];
    return below + (above - below) * (recipe.bits % 1);
  },

  loading,
};

function bitsAt(width: number, { groupSize, symmetric }: Recipe, columns: number): number {
  const blockSize = blockSizeOf({ columns, groupSize: groupSize === -1 ? columns : groupSize }) as number;
  const bits = storedBits(width);
  const blocks = Math.ceil(columns / blockSize);
  const zeroBits = symmetric ? 0 : 8 * Math.ceil((blocks * bits) / 8);
  return (blocks * (blockSize * bits + SCALE_BITS) + zeroBits) / columns;
}
