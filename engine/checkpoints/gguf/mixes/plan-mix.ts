import { architectureOf, type ModelShape } from '../../../models';
import { weighsInputs } from '../../../quantizers';
import {
  embeddingBits,
  type LinearPlan,
  type ModelPlan,
  type QuantizedBlockType,
  QuantloomError,
  type Recipe,
} from '../../../spec';
import type { KeptStorage, PlanOfKept } from '../../format';
import { isHead } from '../../model-config';
import { recipeOfBlocks } from '../block-settings';
import { BLOCK_TYPES } from '../blocks/block-types';
import { ggufArchitectureOf } from '../models/gguf-architectures';
import { ggufTensorName, isAlwaysFloat32 } from '../models/tensor-names';
import type { GgufMix } from './gguf-mix';
import { fittingType, typeInMix } from './type-in-mix';

/**
 * Every linear's recipe with the block type that the mix has for it; an override's type stays, as far as it fits. A linear that no type fits is
 * kept. A plan for an architecture without a table stays as it is: it is refused elsewhere.
 */
export function planMix(mix: GgufMix, plan: ModelPlan): ModelPlan {
  const typeOf = typesIn(mix, plan);
  if (!typeOf) return plan;
  const mixed = (linear: LinearPlan): LinearPlan => {
    const { name, columns, recipe } = linear;
    if (recipe === null) return linear;
    const type = recipe.blockType ? fittingType(recipe.blockType, columns) : typeOf(`${name}.weight`, columns);
    return { ...linear, recipe: type && recipeInBlocks(recipe, type) };
  };
  const blocks = plan.blocks.map((block) => ({
    ...block,
    stages: block.stages.map((stage) => ({ ...stage, linears: stage.linears.map(mixed) })),
  }));
  return { ...plan, blocks };
}

/**
 * The matrices that are kept, but in blocks, made without calibration: the embedding, where the plan has a type for it; with a mix, the embedding and a head
 * that is not planned as a linear.
 */
export function keptInBlocks(mix: GgufMix | null, plan: PlanOfKept): KeptStorage {
  const kept = mix ? keptInMix(mix, plan) : {};
  const name = embeddingOf(plan);
  const type = blockTypeOf(plan);
  return type ? { ...kept, [name]: keptAs(type) } : kept;
}

/** Why the embedding cannot have the type that the plan has for it; null: it can. */
export function refuseEmbedding(plan: PlanOfKept): string | null {
  const { embedding } = plan;
  if (!embedding || blockTypeOf(plan)) return null;
  if (embeddingBits(embedding)) {
    return `it has blocks for the embedding, no plain ${embedding}. Set embedding to a type of block, such as Q8_0 or Q4_0, or write onnx.`;
  }
  const columns = plan.tensors[embeddingOf(plan)]?.shape[1];
  return `the embedding has rows of ${columns}, and no block of ${embedding} or of what takes its place divides them. Leave embedding out.`;
}

/** null: there is none, or none that fits. */
function blockTypeOf(plan: PlanOfKept): QuantizedBlockType | null {
  const { embedding, tensors } = plan;
  if (!embedding || embeddingBits(embedding)) return null;
  return fittingType(embedding as QuantizedBlockType, tensors[embeddingOf(plan)]?.shape[1] as number);
}

function embeddingOf({ config, tensors }: PlanOfKept): string {
  return architectureOf(config, (name) => name in tensors).embedding;
}

function keptAs(type: QuantizedBlockType): KeptStorage[string] {
  const { blockBytes, blockSize } = BLOCK_TYPES[type];
  return { as: type, bitsPerWeight: (blockBytes * 8) / blockSize };
}

function keptInMix(mix: GgufMix, plan: PlanOfKept): KeptStorage {
  const typeOf = typesIn(mix, plan);
  const kept: Record<string, KeptStorage[string]> = {};
  for (const name of typeOf ? plan.remainder : []) {
    const [, columns] = plan.tensors[name]?.shape ?? [];
    const type = columns === undefined ? null : typeOf?.(name, columns);
    if (type) kept[name] = keptAs(type);
  }
  return kept;
}

/** A recipe with what follows from the type; what such grids have no use for is left out. */
export function recipeInBlocks(
  { learnedRounding: _, refinementDamping: _damping, mismatch, ...recipe }: Recipe,
  blockType: QuantizedBlockType,
): Recipe {
  const fields = recipeOfBlocks(BLOCK_TYPES[blockType]);
  // As of grids of other formats (recipeOfQuality).
  const kept = mismatch !== undefined && fields.bits <= 4 ? { mismatch } : {};
  return { ...recipe, ...fields, ...kept, blockType, restarts: 0, groupRounds: 0 };
}

/** By a tensor's name in the source; null where GGUF has no table for the architecture. */
function typesIn(
  mix: GgufMix,
  plan: PlanOfKept,
): ((name: string, columns: number) => QuantizedBlockType | null) | null {
  const known = architectureFor(plan);
  if (!known) return null;
  const { architecture, shape } = known;
  const recipes = plan.blocks.flatMap(({ stages }) => stages.flatMap(({ linears }) => linears));
  const headQuantized = recipes.some(({ name, recipe }) => isHead(name) && recipe !== null);
  const model = {
    mix,
    architecture: architecture.name,
    shape,
    tiedHead: shape.tiedHead && !headQuantized,
    calibrated: recipes.some(weighsInputs),
  };
  return (name, columns) => {
    const named = ggufTensorName(architecture, name);
    return named === null || isAlwaysFloat32(named) ? null : typeInMix(model, named, columns);
  };
}

function architectureFor({ architecture, config, tensors }: PlanOfKept) {
  try {
    const shape: ModelShape = architectureOf(config, (name) => name in tensors).shape(config);
    return { architecture: ggufArchitectureOf(architecture), shape };
  } catch (error) {
    if (QuantloomError.is(error)) return null;
    throw error;
  }
}
