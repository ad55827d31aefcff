import { isDeepStrictEqual } from 'node:util';
import { type LinearPlan, QuantloomError, type Recipe } from '../../spec';
import { writeDynamicOverrides } from '../dynamic-overrides';
import type { CheckpointContext } from '../format';
import { isHead, routerModules } from '../model-config';

/** What the file says of a linear, in the names of the quantization_config. */
interface StoredSettings {
  readonly bits: number;
  readonly group_size: number;
  readonly sym: boolean;
  readonly desc_act: boolean;
}

/**
 * The quantization_config as GPTQModel, transformers (optimum), vLLM and SGLang read it.
 *
 * The base is the most frequent setting of the decoder layers; what differs stands under `dynamic`, which GPTQModel, vLLM and
 * SGLang read. transformers knows neither `dynamic` nor a quantized head; linears kept in 16 bit are named to it by
 * `modules_in_block_to_quantize`.
 *
 * @throws QuantloomError InvalidSpecification when no linear is quantized.
 */
export function quantizationConfig(context: CheckpointContext): Record<string, unknown> {
  const head = context.linears.find((linear) => isHead(linear.name));
  const inLayers = context.linears.filter((linear) => !isHead(linear.name));
  const base = mostFrequent(inLayers.some((linear) => linear.recipe) ? inLayers : context.linears);

  const routers = routerModules(context.sourceConfig).map((name) => ({ name, recipe: null }));

  const dynamic = writeDynamicOverrides(
    [...context.linears.filter((linear) => linear.recipe !== null || !isHead(linear.name)), ...routers],
    (linear) => {
      if (linear.recipe === null) return false;
      const own = storedSettings(linear.recipe);
      const differing = Object.entries(own).filter(
        ([field, value]) => value !== base.stored[field as keyof StoredSettings],
      );
      return differing.length === 0 ? null : Object.fromEntries(differing);
    },
  );

  return {
    quant_method: 'gptq',
    ...base.stored,
    lm_head: head?.recipe != null,
    checkpoint_format: context.layout,
    format: context.layout,
    pack_dtype: 'int32',
    ...(Object.keys(dynamic).length > 0 ? { dynamic } : {}),
    ...(routers.length > 0 || inLayers.some((linear) => linear.recipe === null)
      ? { modules_in_block_to_quantize: modulesInBlock(inLayers) }
      : {}),
    meta: {
      quantizer: [`quantloom:${context.version}`],
      method: base.recipe.method,
      damp_percent: base.recipe.damping,
      static_groups: base.recipe.actOrder === 'static',
      true_sequential: context.order === 'stage',
      // The norm of the error that scales are searched under (weighted by the Hessian's diagonal); 0: from the extremes.
      mse: base.recipe.scales === 'search' ? 2 : 0,
      refinements: base.recipe.refinements,
    },
  };
}

function storedSettings(recipe: Recipe): StoredSettings {
  return {
    bits: recipe.bits,
    group_size: recipe.groupSize,
    sym: recipe.symmetric,
    desc_act: recipe.method === 'gptq' && recipe.actOrder === 'dynamic',
  };
}

function mostFrequent(linears: readonly LinearPlan[]): { stored: StoredSettings; recipe: Recipe } {
  const counted: { stored: StoredSettings; recipe: Recipe; count: number }[] = [];
  for (const { recipe } of linears) {
    if (!recipe) continue;
    const stored = storedSettings(recipe);
    const known = counted.find((entry) => isDeepStrictEqual(entry.stored, stored));
    if (known) known.count++;
    else counted.push({ stored, recipe, count: 1 });
  }
  const [first, ...others] = counted;
  if (!first) {
    throw new QuantloomError(
      'InvalidSpecification',
      'Every linear is kept in 16 bit, so there is nothing to write as GPTQ. Remove an override with skip.',
    );
  }
  return others.reduce((best, entry) => (entry.count > best.count ? entry : best), first);
}

/** The suffixes that are quantized in every layer, or all full names when layers differ. */
function modulesInBlock(inLayers: readonly LinearPlan[]): string[][] {
  const suffix = (name: string) => name.replace(/^.*?\.\d+\./, '');
  const skipped = new Set(inLayers.filter((linear) => !linear.recipe).map((linear) => suffix(linear.name)));
  const quantized = inLayers.filter((linear) => linear.recipe).map((linear) => linear.name);
  const suffixes = [...new Set(quantized.map(suffix))];
  return [suffixes.some((name) => skipped.has(name)) ? quantized : suffixes];
}
