import { architectureOf, transposedWeights } from '../models';
import type { ModelPlan } from '../spec';

/** How the source has the weight of a linear. */
export interface WeightForm {
  readonly dtype: 'F32' | 'F16' | 'BF16';
  /** It holds Wᵀ, `[columns, rows]`. */
  readonly transposed?: true;
}

/** By module, for these linears of the plan; a head that was tied has the embedding's. */
export function weightForms(
  { config, tensors }: Pick<ModelPlan, 'config' | 'tensors'>,
  modules: Iterable<string>,
): Record<string, WeightForm> {
  const architecture = architectureOf(config, (name) => name in tensors);
  const transposed = transposedWeights(architecture.blocks(architecture.shape(config), (name) => name in tensors));
  const forms: Record<string, WeightForm> = {};
  for (const module of modules) {
    const weight = `${module}.weight`;
    const dtype = (tensors[weight] ?? tensors[architecture.embedding])?.dtype as WeightForm['dtype'];
    forms[module] = transposed.has(weight) ? { dtype, transposed: true } : { dtype };
  }
  return forms;
}
