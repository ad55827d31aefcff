import type { Recipe } from '../spec';
import { fp4, nf4 } from './codebook/codebook-methods';
import { llmInt8 } from './llm-int8';
import type { RowMethod } from './row-block';
import { ROW_METHODS } from './row-methods';
import type { WholeMethod } from './whole-method';

export type QuantizationMethod = RowMethod | WholeMethod;

/** Every quantization method. */
export const METHODS: Readonly<Record<Recipe['method'], QuantizationMethod>> = {
  ...ROW_METHODS,
  nf4,
  fp4,
  'llm-int8': llmInt8,
};

/** Whether several workers can share the rows of a linear. */
export function solvesByRows({ method }: Pick<Recipe, 'method'>): boolean {
  return 'quantizeRows' in METHODS[method];
}
