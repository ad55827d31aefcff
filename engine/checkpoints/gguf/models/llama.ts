import type { RotaryScaling } from '../../../models/architecture';
import { decoderMetadata } from './decoder-metadata';
import { expertMetadata, MIXTRAL_EXPERTS, refuseExperts } from './experts';
import { llamaLike } from './gguf-architecture';
import { LLAMA_MODULES } from './llama-modules';
import { rotaryFactors } from './rotary-factors';

/** Llama 1 to 3, Mistral and Mixtral, which llama.cpp treats as one. */
export const ggufLlama = llamaLike({
  name: 'llama',
  config: { modelClass: 'LlamaForCausalLM' },
  modules: { ...LLAMA_MODULES, ...MIXTRAL_EXPERTS },

  metadata: (shape) => new Map([...decoderMetadata('llama', shape), ...expertMetadata('llama', shape)]),

  permutedHeads(module, shape) {
    if (module.endsWith('.q_proj')) return shape.heads;
    return module.endsWith('.k_proj') ? shape.keyValueHeads : 0;
  },

  extraTensors(shape) {
    const factors = rotaryFactors(shape.rotary as RotaryScaling, shape.headSize);
    return new Map(factors === null ? [] : [['rope_freqs.weight', factors]]);
  },

  refuse: (shape) => refuseExperts(shape, true),
});
