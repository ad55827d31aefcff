import { decoderMetadata } from './decoder-metadata';
import { expertMetadata, expertWidths, QWEN_EXPERTS, refuseExperts } from './experts';
import { llamaLike } from './gguf-architecture';
import { HEAD_NORMS, LLAMA_MODULES } from './llama-modules';
import { refuseOutputBias, refuseScaledRotary } from './refusals';

/** Qwen3 with experts. */
export const ggufQwen3Moe = llamaLike({
  name: 'qwen3moe',
  config: { modelType: 'qwen3_moe', modelClass: 'Qwen3MoeForCausalLM' },
  modules: {
    ...LLAMA_MODULES,
    ...QWEN_EXPERTS,
    ...HEAD_NORMS,
  },
  metadata: (shape) =>
    new Map([
      ...decoderMetadata('qwen3moe', shape),
      ...expertMetadata('qwen3moe', shape),
      ...expertWidths('qwen3moe', shape),
    ]),

  refuse: (shape, tensors) => refuseExperts(shape, true) ?? refuseScaledRotary(shape) ?? refuseOutputBias(tensors),
});
