import { architectureOf } from '../../models';
import { type LinearPlan, QuantloomError, type Recipe } from '../../spec';
import type { CheckpointContext } from '../format';
import { keptModules } from '../model-config';
import { modulePatterns } from '../module-patterns';
import { linearLayout } from './layout';
import { inputArgs, weightArgs } from './quantization-args';

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
  layout,
}: Pick<CheckpointContext, 'linears' | 'sourceConfig' | 'layout'>): Record<string, unknown> {
  const groups = groupByScheme(linears);
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
    format: layout,
    quantization_status: 'compressed',
    config_groups: Object.fromEntries(
      groups.map(({ scheme, modules }, index) => [`group_${index}`, { targets: targetsOf(modules), ...scheme }]),
    ),
    ignore: keptModules({ linears, sourceConfig }),
    kv_cache_scheme: null,
    global_compression_ratio: null,
  };
}

/** Modules that are stored alike, in the order of the model. */
function groupByScheme(linears: readonly LinearPlan[]) {
  const groups = new Map<string, { readonly scheme: ReturnType<typeof schemeOf>; readonly modules: string[] }>();
  for (const { name, recipe } of linears) {
    if (recipe === null) continue;
    const scheme = schemeOf(recipe);
    const key = JSON.stringify(scheme);
    const group = groups.get(key) ?? { scheme, modules: [] };
    groups.set(key, group);
    group.modules.push(name);
  }
  return [...groups.values()];
}

/** The fields of compressed-tensors' QuantizationScheme but for the targets. */
function schemeOf(recipe: Recipe) {
  return {
    weights: weightArgs(recipe),
    input_activations: inputArgs(recipe),
    output_activations: null,
    format: linearLayout(recipe),
  };
}
