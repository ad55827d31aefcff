import type { ExpertShape, ModelShape } from './architecture';
import { type Config, invalid, type RefusedField, size } from './config-fields';
import { LLAMA_REFUSED } from './decoder-shape';

const MOST_EXPERTS = 4096;

/** What changes the forward pass of models with experts: what does in Llama's layers, but for the experts. */
export const EXPERTS_REFUSED: readonly RefusedField[] = LLAMA_REFUSED.filter(
  ({ feature, field }) => feature !== 'mixture of experts' || field === 'n_routed_experts',
);

/** Number of experts and of those that a token passes. @throws QuantloomError InvalidModel. */
export function expertCounts(
  config: Config,
  {
    fields,
    count,
    perToken,
  }: { readonly fields: readonly string[]; readonly count: number; readonly perToken: number },
): Pick<ExpertShape, 'count' | 'perToken'> {
  const field = fields.find((name) => config[name] !== undefined) ?? (fields[0] as string);
  const experts = size(config, field, count);
  if (experts > MOST_EXPERTS) throw invalid(field, experts, `at most ${MOST_EXPERTS}`);
  const chosen = size(config, 'num_experts_per_tok', perToken);
  if (chosen > experts) throw invalid('num_experts_per_tok', chosen, `at most ${field} (${experts})`);
  return { count: experts, perToken: chosen };
}

/** Which layers of Qwen's mixtures have experts: every `decoder_sparse_step`-th, but for `mlp_only_layers`. @throws QuantloomError InvalidModel. */
export function sparseLayers(config: Config, { layers }: Pick<ModelShape, 'layers'>): readonly boolean[] {
  const step = size(config, 'decoder_sparse_step', 1);
  const dense = config.mlp_only_layers ?? [];
  if (!Array.isArray(dense)) throw invalid('mlp_only_layers', dense, 'a list of layers');
  return Array.from({ length: layers }, (_, layer) => !dense.includes(layer) && (layer + 1) % step === 0);
}
