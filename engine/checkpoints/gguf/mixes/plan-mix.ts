import { architectureOf, type ModelShape } from '../../../models';
import { weighsInputs } from '../../../quantizers';
import { type LinearPlan, type ModelPlan, type QuantizedBlockType, QuantloomError, type Recipe } from '../../../spec';
import type { KeptStorage } from '../../format';
import { isHead } from '../../model-config';
import { recipeOfBlocks } from '../block-settings';
import { BLOCK_TYPES } from '../blocks/block-types';
import { ggufArchitectureOf } from '../models/gguf-architectures';
import { ggufTensorName, isAlwaysFloat32 } from '../models/tensor-names';
import type { GgufMix } from './gguf-mix';
import { fittingType, typeInMix } from './type-in-mix';

type MixablePlan = Pick<ModelPlan, 'architecture' | 'config' | 'blocks' | 'tensors' | 'remainder' | 'embedding'>;

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
export function keptInBlocks(mix: GgufMix | null, plan: MixablePlan): KeptStorage {
  const kept = mix ? keptInMix(mix, plan) : {};
  const name = embeddingOf(plan);
  const type = plan.embedding && fittingType(plan.embedding, plan.tensors[name]?.shape[1] as number);
  return type ? { ...kept, [name]: keptAs(type) } : kept;
}

/** Why the embedding cannot have the type that the plan has for it; null: it can. */
export function refuseEmbedding(plan: MixablePlan): string | null {
  const columns = plan.tensors[embeddingOf(plan)]?.shape[1] as number;
  if (!plan.embedding || fittingType(plan.embedding, columns)) return null;
  return `The embedding has rows of ${columns}, and no block of ${plan.embedding} or of what takes its place divides them. Leave \`embedding\` out.`;
}

function embeddingOf({ config, tensors }: MixablePlan): string {
  return architectureOf(config, (name) => name in tensors).embedding;
}

function keptAs(type: QuantizedBlockType): KeptStorage[string] {
  const { blockBytes, blockSize } = BLOCK_TYPES[type];
  return { as: type, bitsPerWeight: (blockBytes * 8) / blockSize };
}

function keptInMix(mix: GgufMix, plan: MixablePlan): KeptStorage {
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
  plan: MixablePlan,
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

function architectureFor({ architecture, config, tensors }: MixablePlan) {
  try {
    const shape: ModelShape = architectureOf(config, (name) => name in tensors).shape(config);
    return { architecture: ggufArchitectureOf(architecture), shape };
  } catch (error) {
    if (QuantloomError.is(error)) return null;
    throw error;
  }
}
