import { decoderArchitecture } from './decoder-architecture';
import { LLAMA_FIELDS, LLAMA_REFUSED } from './decoder-shape';
import { llamaModules } from './llama-modules';
import { longRotary, longSequenceLimit } from './long-rotary';
import { slidingWindow, windowEverywhere } from './sliding-window';

const LLAMA = llamaModules({ bias: { inputs: 'never', output: 'never', mlp: 'never' } });

/** Phi-3, 3.5 and 4 (arXiv 2404.14219): Llama's layers with q, k and v in one matrix, gate and up in another. */
export const phi3 = decoderArchitecture({
  name: 'phi3',
  modelClass: 'Phi3ForCausalLM',
  modelType: 'phi3',
  ...LLAMA,
  attention: { ...LLAMA.attention, inputs: [{ role: 'qkv', module: 'self_attn.qkv_proj', bias: 'never' }] },
  mlp: { ...LLAMA.mlp, inputs: [{ role: 'gate-up', module: 'mlp.gate_up_proj', bias: 'never' }] },
  config: {
    ...LLAMA_FIELDS,
    maxPositions: { field: 'max_position_embeddings', otherwise: 4096 },
    normEpsilon: { field: 'rms_norm_eps', otherwise: 1e-5 },
    refused: LLAMA_REFUSED.filter(({ field }) => field !== 'partial_rotary_factor'),
    rotaryOf: (config, shape) => longRotary(config, shape, 'phi3'),
    sequenceLimit: longSequenceLimit,
    attention: (config, shape) => windowEverywhere(slidingWindow(config, null), shape),
  },
});
