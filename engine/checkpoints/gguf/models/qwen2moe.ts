import { decoderMetadata } from './decoder-metadata';
import { expertMetadata, expertWidths, QWEN_EXPERTS, refuseExperts, SHARED_EXPERT } from './experts';
import { llamaLike } from './gguf-architecture';
import { LLAMA_MODULES } from './llama-modules';
import { refuseScaledRotary } from './refusals';

/** Qwen 1.5 MoE and Qwen2-MoE. */
export const ggufQwen2Moe = llamaLike({
  name: 'qwen2moe',
  config: { modelType: 'qwen2_moe', modelClass: 'Qwen2MoeForCausalLM' },
  modules: { ...LLAMA_MODULES, ...QWEN_EXPERTS, ...SHARED_EXPERT },
  metadata: (shape) =>
    new Map([
      ...decoderMetadata('qwen2moe', shape),
      ...expertMetadata('qwen2moe', shape),
      ...expertWidths('qwen2moe', shape),
    ]),

  refuse(shape) {
    const refusal = refuseExperts(shape, false) ?? refuseScaledRotary(shape);
    if (refusal !== null) return refusal;
    if (shape.heads * shape.headSize !== shape.hiddenSize) {
      return `its heads have ${shape.heads * shape.headSize} features together, and llama.cpp takes ${shape.hiddenSize}, the hidden size`;
    }
    return shape.tiedHead
      ? 'its head is the embedding, and llama.cpp wants one of its own here; quantize it (keepHead: false)'
      : null;
  },
});
