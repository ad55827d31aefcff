import { decoderArchitecture } from './decoder-architecture';
import { LLAMA_FIELDS } from './decoder-shape';
import { EXPERTS_REFUSED, expertCounts } from './expert-fields';
import { llamaModules } from './llama-modules';
import { slidingWindow, windowEverywhere } from './sliding-window';

/** Mixtral (arXiv 2401.04088): Mistral's layers with experts, of which two see a token. */
export const mixtral = decoderArchitecture({
  name: 'mixtral',
  modelClass: 'MixtralForCausalLM',
  modelType: 'mixtral',
  ...llamaModules({ bias: { inputs: 'never', output: 'never', mlp: 'never' } }),
  experts: {
    router: 'block_sparse_moe.gate',
    modules: 'block_sparse_moe.experts',
    projections: { gate: 'w1', up: 'w3', down: 'w2' },
  },
  config: {
    ...LLAMA_FIELDS,
    keyValueHeads: { field: 'num_key_value_heads', otherwise: 8 },
    maxPositions: { field: 'max_position_embeddings', otherwise: 131072 },
    normEpsilon: { field: 'rms_norm_eps', otherwise: 1e-5 },
    refused: EXPERTS_REFUSED,
    attention: (config, shape) => windowEverywhere(slidingWindow(config, null), shape),
    experts: (config, { layers, intermediateSize }) => ({
      ...expertCounts(config, { fields: ['num_local_experts'], count: 8, perToken: 2 }),
      intermediateSize,
      sharedIntermediateSize: 0,
      normalized: true,
      layers: Array.from({ length: layers }, () => true),
    }),
  },
});
