import { architectureOf } from '../../models';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import type { BlocksLinear } from '../../quantizers/grids/blocks-grid';
import type { GgufMixName, LinearPlan, ModelPlan, QuantizedBlockType, Tensor } from '../../spec';
import type { CheckpointFormat } from '../format';
import { writtenModelConfig } from '../model-config';
import { BLOCK_TYPES } from './blocks/block-types';
import { encodeKept, recordKept } from './encode-kept';
import { ggufContainer } from './gguf-container';
import { BLOCKS, ggufStorage } from './gguf-storage';
import { encodeLinearBlocks, gridBlockType } from './linear-blocks';
import { loading } from './loading';
import { type GgufMix, MIXES } from './mixes/gguf-mix';
import { keptInBlocks, planMix, refuseEmbedding } from './mixes/plan-mix';
import { ggufArchitectureOf } from './models/gguf-architectures';
import { ggufTensorsOf } from './models/gguf-tensors-of';
import { refuseStacks } from './refuse-stacks';
import { storedWeightSha256 } from './stored-weight-sha256';
import { readTokenizerSource } from './tokenizer/read-tokenizer-source';
import { tokenizerMetadata } from './tokenizer/tokenizer-metadata';

/** GGUF, which llama.cpp and what is built on it load: codes stay what they are, in blocks of the same grid. */
export const gguf: CheckpointFormat = ggufFormat('gguf', null);

/** The same with the types of a mix. */
export const ggufMixes = Object.fromEntries(
  Object.values(MIXES).map((mix) => [`gguf:${mix.name}`, ggufFormat(`gguf:${mix.name}`, mix)]),
) as Record<`gguf:${GgufMixName}`, CheckpointFormat>;

function ggufFormat(name: CheckpointFormat['name'], mix: GgufMix | null): CheckpointFormat {
  return {
    name,
    storage: ggufStorage,
    container: ggufContainer(mix),
    grids: ['affine', 'blocks'],
    keptApart: true,
    smallestZero: 0,
    layout: () => 'gguf',

    refuse({ recipe, columns }: LinearPlan) {
      if (recipe === null) return null;
      if (recipe.method === 'gptq' && recipe.actOrder === 'dynamic') {
        return 'dynamic act-order puts columns into groups by their activations, and blocks hold neighbours. Use act-order static or none.';
      }
      if (recipe.blockType) return refuseColumns(recipe.blockType, columns);
      const found = gridBlockType(recipe, columns);
      return 'refusal' in found ? `${found.refusal}.` : null;
    },

    refuseTogether: refuseStacks,

    ...(mix && { planRecipes: (plan: ModelPlan) => planMix(mix, plan) }),
    keptStorage: (plan) => keptInBlocks(mix, plan),
    refuseEmbedding,

    async requireWritable({ architecture, config, directory, companions, ...plan }: ModelPlan) {
      ggufArchitectureOf(architecture);
      const shape = architectureOf(config, (name) => name in plan.tensors).shape(config);
      const linears = plan.blocks.flatMap(({ stages }) => stages.flatMap((stage) => stage.linears));
      // Quantized linears are asked about one by one.
      ggufTensorsOf({ plan, linears: [], config: writtenModelConfig({ sourceConfig: config, linears }) });
      tokenizerMetadata(
        await readTokenizerSource({ directory, companions, config, vocabularySize: shape.vocabularySize }),
      );
    },

    encodeLinear(module, linear: AffineLinear | BlocksLinear) {
      const { blocks } = linear.kind === 'blocks' ? linear : encodeLinearBlocks(module, linear);
      const tensor: Tensor = { dtype: 'U8', shape: [linear.rows, blocks.length / linear.rows], data: blocks };
      return new Map([[`${module}.${BLOCKS}`, tensor]]);
    },

    encodeKept,
    recordKept,
    storedWeightSha256: (linear: AffineLinear | BlocksLinear) =>
      linear.kind === 'affine' ? storedWeightSha256(linear) : null,
    config: writtenModelConfig,
    files: () => new Map(),

    bitsPerWeight({ recipe, columns }, sourceBits = 16) {
      if (recipe === null) return sourceBits;
      if (recipe.blockType) return bitsOf(recipe.blockType);
      // Where widths are not chosen yet, their mean stands in place of bits: as much as the widths around it take.
      const bits = [Math.floor(recipe.bits), Math.ceil(recipe.bits)].map((width) =>
        widthOf({ ...recipe, bits: width as 4 }, columns),
      );
      const [below = 0, above = 0] = bits;
      return below + (above - below) * (recipe.bits % 1);
    },

    loading,
  };
}

function widthOf(recipe: NonNullable<LinearPlan['recipe']>, columns: number): number {
  const found = gridBlockType(recipe, columns);
  if ('refusal' in found) return 16;
  return bitsOf(found.type);
}

function bitsOf(type: QuantizedBlockType): number {
  const { blockBytes, blockSize } = BLOCK_TYPES[type];
  return (blockBytes * 8) / blockSize;
}

function refuseColumns(type: QuantizedBlockType, columns: number): string | null {
  const { blockSize } = BLOCK_TYPES[type];
  if (columns % blockSize === 0) return null;
  return `its rows have ${columns} weights, and blocks of ${type} hold ${blockSize}. Choose a type with blocks of 32 (Q8_0, Q5_0, Q4_0, IQ4_NL), or keep this linear in 16 bit.`;
}
