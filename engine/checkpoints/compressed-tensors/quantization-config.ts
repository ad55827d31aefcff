import { architectureOf } from '../../models';
import { type LinearPlan, QuantloomError, type Recipe } from '../../spec';
import type { CheckpointContext } from '../format';
import { keptModules } from '../model-config';
import { modulePatterns } from '../module-patterns';
import { PACK_QUANTIZED } from './layout';

/**
 * The quantization_config as compressed-tensors (transformers) and vLLM read it: a config group for every way that linears are stored.
 *
 * One group targets the class `Linear`. Several target their modules by anchored expressions and not the class, which vLLM would match
 * first for fused linears.
 *
 * @throws QuantloomError InvalidSpecification when no linear is quantized.
 */
export function quantizationConfig({
  linears,
  sourceConfig,
}: Pick<CheckpointContext, 'linears' | 'sourceConfig'>): Record<string, unknown> {
  const groups = groupByWeights(linears);
  if (groups.length === 0) {
    throw new QuantloomError(
      'InvalidSpecification',
      'Every linear is kept in 16 bit, so there is nothing to write as compressed-tensors. Remove an override with skip.',
    );
  }
  // A head that is kept need not be among the linears, but it is of the class.
  const head = architectureOf(sourceConfig).head.replace(/\.weight$/, '');
  const all = [...new Set([...linears.map(({ name }) => name), head])];
  const targetsOf = (modules: readonly string[]) =>
    groups.length === 1 ? ['Linear'] : modulePatterns(modules, all).map((pattern) => `re:${pattern}`);
  return {
    quant_method: 'compressed-tensors',
    format: PACK_QUANTIZED,
    quantization_status: 'compressed',
    config_groups: Object.fromEntries(
      groups.map(({ weights, modules }, index) => [
        `group_${index}`,
        {
          targets: targetsOf(modules),
          weights,
          input_activations: null,
          output_activations: null,
          format: PACK_QUANTIZED,
        },
      ]),
    ),
    ignore: keptModules({ linears, sourceConfig }),
    kv_cache_scheme: null,
    global_compression_ratio: null,
  };
}

/** Modules that are stored alike, in the order of the model. */
function groupByWeights(linears: readonly LinearPlan[]) {
  const groups = new Map<string, { readonly weights: ReturnType<typeof weightsOf>; readonly modules: string[] }>();
  for (const { name, recipe } of linears) {
    if (recipe === null) continue;
    const weights = weightsOf(recipe);
    const key = JSON.stringify(weights);
    const group = groups.get(key) ?? { weights, modules: [] };
    groups.set(key, group);
    group.modules.push(name);
  }
  return [...groups.values()];
}

/** The fields of compressed-tensors' QuantizationArgs. */
function weightsOf({ bits, symmetric, groupSize, method, actOrder }: Recipe) {
  return {
    num_bits: bits,
    type: 'int',
    symmetric,
    strategy: groupSize === -1 ? 'channel' : 'group',
    group_size: groupSize === -1 ? null : groupSize,
    dynamic: false,
    // The order in which columns were quantized; groups are sequential all the same.
    actorder: method === 'gptq' && actOrder === 'static' ? 'weight' : null,
  };
}
