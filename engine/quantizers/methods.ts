import { floatTypesOf, isStatic, type Recipe } from '../spec';
import type { BlockMethod } from './blocks/block-method';
import { kquants } from './blocks/kquants';
import { fp4, nf4 } from './codebook/codebook-methods';
import { llmInt8 } from './llm-int8';
import type { GridKind } from './quantized-linear';
import type { RowMethod } from './row-block';
import { ROW_METHODS } from './row-methods';
import { type StoredMethod, stored } from './stored';
import { ternary } from './ternary';
import type { WholeMethod } from './whole-method';

export type QuantizationMethod = RowMethod | WholeMethod | BlockMethod | StoredMethod;

/** Every quantization method. */
export const METHODS: Readonly<Record<Recipe['method'], QuantizationMethod>> = {
  ...ROW_METHODS,
  nf4,
  fp4,
  'llm-int8': llmInt8,
  kquants,
  ternary,
  stored,
};

/** The kind of grid that a recipe quantizes to. */
export function gridKindOf({
  method,
  blockType,
  floatType,
}: Pick<Recipe, 'method' | 'blockType' | 'floatType'>): GridKind {
  if (blockType) return 'blocks';
  return floatType ? 'minifloat' : METHODS[method].grids[0];
}

/** Whether a linear needs the Hessian of its input; one that is kept in 16 bit does not. */
export function needsHessian({ recipe }: { readonly recipe: Pick<Recipe, 'method' | 'importance'> | null }): boolean {
  return recipe !== null && METHODS[recipe.method].needsHessian && !['none', 'file'].includes(recipe.importance);
}

/** Whether a linear needs the largest magnitude of its input on the calibration set. */
export function needsMagnitudes({ recipe }: { readonly recipe: Pick<Recipe, 'activations'> | null }): boolean {
  return isStatic(recipe?.activations);
}

/** Whether a linear needs anything of the calibration set. */
export function needsCalibration(linear: {
  readonly recipe: Pick<Recipe, 'method' | 'importance' | 'activations'> | null;
}): boolean {
  return needsHessian(linear) || needsMagnitudes(linear);
}

/** Whether errors are weighted by what comes into a linear, whether that is calibrated or read from a file. */
export function weighsInputs(linear: { readonly recipe: Pick<Recipe, 'method' | 'importance'> | null }): boolean {
  return linear.recipe?.importance === 'file' || needsHessian(linear);
}

/** Whether a method solves with a factorized Hessian. */
export function factorizes({ method }: Pick<Recipe, 'method'>): boolean {
  return 'factorizes' in METHODS[method];
}

/** The methods that quantize a whole weight with one scale. */
const PER_TENSOR: readonly Recipe['method'][] = ['rtn', 'gptq'];

/** Why a recipe cannot be carried out, and what to do; null when it can. */
export function refuseRecipe(recipe: Recipe): string | null {
  const { name, grids, needsHessian: weighs, refuse } = METHODS[recipe.method];
  if (recipe.blockType && !grids.includes('blocks')) {
    return `the method ${name} makes no blocks of GGUF. Use the method gptq or kquants, or leave blockType out.`;
  }
  if (recipe.floatType && !grids.includes('minifloat')) {
    return `the method ${name} rounds to no floats of the type ${recipe.floatType}. Use the method gptq or rtn, or leave floatType out.`;
  }
  if (recipe.floatType && recipe.blockType) {
    return `blockType ${recipe.blockType} and floatType ${recipe.floatType} are two grids. Leave one of them out.`;
  }
  if (recipe.perTensor && (recipe.floatType || recipe.blockType || ![...PER_TENSOR, 'stored'].includes(name))) {
    return `perTensor is of integers by the methods ${PER_TENSOR.join(' and ')}. Leave it out; floats with one scale are floatType fp8-tensor.`;
  }
  const refused = refuseActivations(recipe);
  if (refused) return refused;
  if (recipe.importance === 'file' && name !== 'kquants') {
    return `the method ${name} takes no importance from a file. Use the method kquants, which makes every block type of GGUF (--format gguf:q4_0 and so on), or leave imatrix out.`;
  }
  if (recipe.importance === 'none' && weighs && name !== 'kquants') {
    return `the method ${name} needs the calibration that importance none leaves out. Use the method kquants, or importance diagonal.`;
  }
  return refuse?.(recipe) ?? null;
}

/** Kernels multiply integers with integers, and floats with floats. */
function refuseActivations(recipe: Recipe): string | null {
  const { activations, bits, groupSize, symmetric, floatType } = recipe;
  if (!activations || activations === 'none') return null;
  const types = floatTypesOf(activations);
  if (floatType && types.includes(floatType)) return null;
  if (types.length > 0) {
    return `activations ${activations} go with weights in ${types.join(', ')}. Set floatType to ${types[0]}, or leave activations out.`;
  }
  if (gridKindOf(recipe) === 'affine' && bits === 8 && groupSize === -1 && symmetric) return null;
  return 'activations int8 go with symmetric codes of 8 bits and one scale per row or for all. Set bits to 8 and groupSize to -1, or leave activations out.';
}

/** Whether several workers can share the rows of a linear. */
export function solvesByRows(recipe: Pick<Recipe, 'method' | 'blockType' | 'floatType' | 'perTensor'>): boolean {
  return gridKindOf(recipe) === 'affine' && !recipe.perTensor && 'quantizeRows' in METHODS[recipe.method];
}
