import { ARCHITECTURES, architectureOf } from '../models';
import type { CheckpointContext } from './format';

type ConfigContext = Pick<CheckpointContext, 'sourceConfig' | 'linears'>;

/** The config.json of a quantized model: that of the source, with this quantization_config. */
export function quantizedModelConfig(
  context: ConfigContext,
  quantizationConfig: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  return { ...writtenModelConfig(context), quantization_config: quantizationConfig };
}

/** The same without a word about quantization. */
export function writtenModelConfig({ sourceConfig, linears }: ConfigContext): Record<string, unknown> {
  const { quantization_config: _, ...source } = sourceConfig;
  const headQuantized = linears.some(({ name, recipe }) => isHead(name) && recipe !== null);
  return {
    ...source,
    // A head with weights of its own is no longer the embedding.
    ...(headQuantized ? { tie_word_embeddings: false } : {}),
  };
}

/** The linears of the model that are kept in 16 bit, and the routers of its experts. */
export function keptModules({ sourceConfig, linears }: ConfigContext): string[] {
  const quantized = new Set(linears.filter(({ recipe }) => recipe).map(({ name }) => name));
  // A head that is kept need not be among the linears.
  const head = architectureOf(sourceConfig).head.replace(/\.weight$/, '');
  const all = [...new Set([...linears.map(({ name }) => name), head])];
  return [...all.filter((name) => !quantized.has(name)), ...routerModules(sourceConfig)];
}

/** The modules that choose and weigh experts, which some readers take for linears; never quantized. */
export function routerModules(sourceConfig: ConfigContext['sourceConfig']): string[] {
  const architecture = ARCHITECTURES.find((candidate) => candidate.accepts(sourceConfig));
  if (!architecture?.operators.experts) return [];
  const stages = architecture.blocks(architecture.shape(sourceConfig), () => false).flatMap((block) => block.stages);
  const routers = stages.flatMap(({ parameters }) =>
    [parameters.router ?? [], parameters['shared-router'] ?? []].flat(),
  );
  return routers.map((tensor) => tensor.replace(/\.weight$/, ''));
}

/** config.json as text. transformers wants these fields with a decimal point, and JSON.stringify leaves it out. */
export function configText(config: Readonly<Record<string, unknown>>): string {
  const text = `${JSON.stringify(config, null, 2)}\n`;
  return text.replace(/^(\s*"router_(?:jitter_noise|aux_loss_coef)": \d+)(,?)$/gm, '$1.0$2');
}

/** A head is no part of a layer: its name has no number in it. */
export function isHead(module: string): boolean {
  return !/\.\d+\./.test(module);
}
