import type { Recipe } from '../spec';
import type { BlockMethod } from './blocks/block-method';
import { kquants } from './blocks/kquants';
import { fp4, nf4 } from './codebook/codebook-methods';
import { llmInt8 } from './llm-int8';
import type { GridKind } from './quantized-linear';
import type { RowMethod } from './row-block';
import { ROW_METHODS } from './row-methods';
import { type StoredMethod, stored } from './stored';
import type { WholeMethod } from './whole-method';

export type QuantizationMethod = RowMethod | WholeMethod | BlockMethod | StoredMethod;

/** Every quantization method. */
export const METHODS: Readonly<Record<Recipe['method'], QuantizationMethod>> = {
  ...ROW_METHODS,
  nf4,
  fp4,
  'llm-int8': llmInt8,
  kquants,
  stored,
};

/** The kind of grid that a recipe quantizes to. */
export function gridKindOf({ method, blockType }: Pick<Recipe, 'method' | 'blockType'>): GridKind {
  return blockType ? 'blocks' : METHODS[method].grids[0];
}

/** Whether a linear needs the Hessian of its input; one that is kept in 16 bit does not. */
export function needsHessian({ recipe }: { readonly recipe: Pick<Recipe, 'method' | 'importance'> | null }): boolean {
  return recipe !== null && METHODS[recipe.method].needsHessian && recipe.importance !== 'none';
}

/** Whether a method solves with a factorized Hessian. */
export function factorizes({ method }: Pick<Recipe, 'method'>): boolean {
  return 'factorizes' in METHODS[method];
}

/** Why a recipe cannot be carried out, and what to do; null when it can. */
export function refuseRecipe(recipe: Recipe): string | null {
  const { name, grids, needsHessian: weighs, refuse } = METHODS[recipe.method];
  if (recipe.blockType && !grids.includes('blocks')) {
    return `the method ${name} makes no blocks of GGUF. Use the method gptq or kquants, or leave blockType out.`;
  }
  if (recipe.importance === 'none' && weighs && name !== 'kquants') {
    return `the method ${name} needs the calibration that importance none leaves out. Use the method kquants, or importance diagonal.`;
  }
  return refuse?.(recipe) ?? null;
}

/** Whether several workers can share the rows of a linear. */
export function solvesByRows(recipe: Pick<Recipe, 'method' | 'blockType'>): boolean {
  return gridKindOf(recipe) === 'affine' && 'quantizeRows' in METHODS[recipe.method];
}
