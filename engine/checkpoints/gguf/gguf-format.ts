import { architectureOf } from '../../models';
import { decodeFloats, encodeFloats } from '../../numbers';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import type { LinearPlan, ModelPlan, Tensor } from '../../spec';
import type { CheckpointFormat } from '../format';
import { writtenModelConfig } from '../model-config';
import { BLOCK_TYPES } from './blocks/block-types';
import { ggufContainer } from './gguf-container';
import { BLOCKS, ggufStorage } from './gguf-storage';
import { encodeLinearBlocks, gridBlockType } from './linear-blocks';
import { loading } from './loading';
import { ggufArchitectureOf } from './models/gguf-architectures';
import { ggufTensorsOf } from './models/gguf-tensors-of';
import { storedWeightSha256 } from './stored-weight-sha256';
import { readTokenizerSource } from './tokenizer/read-tokenizer-source';
import { tokenizerMetadata } from './tokenizer/tokenizer-metadata';

/** GGUF, which llama.cpp and what is built on it load: codes stay what they are, in blocks of the same grid. */
export const gguf: CheckpointFormat = {
  name: 'gguf',
  storage: ggufStorage,
  container: ggufContainer,
  grids: ['affine'],
  keptApart: true,
  smallestZero: 0,
  layout: () => 'gguf',

  refuse({ recipe, columns }: LinearPlan) {
    if (recipe === null) return null;
    if (recipe.method === 'gptq' && recipe.actOrder === 'dynamic') {
      return 'dynamic act-order puts columns into groups by their activations, and blocks hold neighbours. Use act-order static or none.';
    }
    const found = gridBlockType(recipe, columns);
    return 'refusal' in found ? `${found.refusal}.` : null;
  },

  async requireWritable({ architecture, config, directory, companions, ...plan }: ModelPlan) {
    ggufArchitectureOf(architecture);
    const shape = architectureOf(config, (name) => name in plan.tensors).shape(config);
    // Quantized linears are asked about one by one.
    ggufTensorsOf({ plan, linears: [], config });
    tokenizerMetadata(
      await readTokenizerSource({ directory, companions, config, vocabularySize: shape.vocabularySize }),
    );
  },

  encodeLinear(module, linear: AffineLinear) {
    const { blocks } = encodeLinearBlocks(module, linear);
    const tensor: Tensor = { dtype: 'U8', shape: [linear.rows, blocks.length / linear.rows], data: blocks };
    return new Map([[`${module}.${BLOCKS}`, tensor]]);
  },

  /** Norms and biases in float32: llama.cpp computes with nothing else. Matrices stay in the source's 16 bit. */
  encodeKept(tensor) {
    if (tensor.shape.length !== 1 || tensor.dtype === 'F32') return tensor;
    return { ...tensor, dtype: 'F32', data: encodeFloats(decodeFloats(tensor), 'F32') };
  },

  storedWeightSha256,
  config: writtenModelConfig,
  files: () => new Map(),

  bitsPerWeight({ recipe, columns }, sourceBits = 16) {
    if (recipe === null) return sourceBits;
    // Where widths are not chosen yet, their mean stands in place of bits: as much as the widths around it take.
    const bits = [Math.floor(recipe.bits), Math.ceil(recipe.bits)].map((width) =>
      widthOf({ ...recipe, bits: width as 4 }, columns),
    );
    const [below = 0, above = 0] = bits;
    return below + (above - below) * (recipe.bits % 1);
  },

  loading,
};

function widthOf(recipe: NonNullable<LinearPlan['recipe']>, columns: number): number {
  const found = gridBlockType(recipe, columns);
  if ('refusal' in found) return 16;
  const { blockBytes, blockSize } = BLOCK_TYPES[found.type];
  return (blockBytes * 8) / blockSize;
}
