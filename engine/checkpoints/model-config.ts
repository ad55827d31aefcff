import { architectureOf } from '../models';
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

/** The linears of the model that are kept in 16 bit. */
export function keptModules({ sourceConfig, linears }: ConfigContext): string[] {
  const quantized = new Set(linears.filter(({ recipe }) => recipe).map(({ name }) => name));
  // A head that is kept need not be among the linears.
  const head = architectureOf(sourceConfig).head.replace(/\.weight$/, '');
  return [...new Set([...linears.map(({ name }) => name), head])].filter((name) => !quantized.has(name));
}

/** A head is no part of a layer: its name has no number in it. */
export function isHead(module: string): boolean {
  return !/\.\d+\./.test(module);
}
