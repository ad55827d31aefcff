import { QuantloomError } from '../../spec';
import { writeDynamicOverrides } from '../dynamic-overrides';
import type { CheckpointContext } from '../format';
import { isHead, keptModules } from '../model-config';
import { AWQ_BITS, GEMM } from './layout';

/**
 * The quantization_config as AutoAWQ writes it, with `dynamic` for GPTQModel, which knows no `modules_to_not_convert`. `zero_point` is true for symmetric linears too: the file has their zero points, and vLLM's
 * faster kernels take it with them only.
 *
 * @throws QuantloomError InvalidSpecification when no linear is quantized.
 */
export function quantizationConfig({
  linears,
  sourceConfig,
}: Pick<CheckpointContext, 'linears' | 'sourceConfig'>): Record<string, unknown> {
  const recipe = linears.find((linear) => linear.recipe)?.recipe;
  if (!recipe) {
    throw new QuantloomError(
      'InvalidSpecification',
      'Every linear is kept in 16 bit, so there is nothing to write as AWQ. Remove an override with skip.',
    );
  }
  const kept = keptModules({ linears, sourceConfig });
  const dynamic = writeDynamicOverrides(
    [...new Set([...linears.map(({ name }) => name), ...kept])].map((name) => ({ name, recipe: null })),
    ({ name }) => (kept.includes(name) && !isHead(name) ? false : null),
  );
  return {
    quant_method: 'awq',
    version: GEMM,
    bits: AWQ_BITS,
    group_size: recipe.groupSize,
    zero_point: true,
    modules_to_not_convert: kept,
    ...(Object.keys(dynamic).length > 0 && { dynamic }),
  };
}
