import { decoderMetadata } from './decoder-metadata';
import { expertMetadata, expertWidths, QWEN_EXPERTS, refuseExperts, SHARED_EXPERT } from './experts';
import type { GgufArchitecture } from './gguf-architecture';
import { LLAMA_MODULES } from './llama-modules';

/** Qwen 1.5 MoE and Qwen2-MoE. */
export const ggufQwen2Moe: GgufArchitecture = {
  name: 'qwen2moe',
  modules: { ...LLAMA_MODULES, ...QWEN_EXPERTS, ...SHARED_EXPERT },
  metadata: (shape) =>
    new Map([
      ...decoderMetadata('qwen2moe', shape),
      ...expertMetadata('qwen2moe', shape),
      ...expertWidths('qwen2moe', shape),
    ]),
  permutedHeads: () => 0,
  extraTensors: () => new Map(),

  refuse(shape) {
    const refusal = refuseExperts(shape, false);
    if (refusal !== null) return refusal;
    if (shape.rotary?.llama3) return 'llama.cpp does not scale rotary positions in this architecture';
    if (shape.heads * shape.headSize !== shape.hiddenSize) {
      return `its heads have ${shape.heads * shape.headSize} features together, and llama.cpp takes ${shape.hiddenSize}, the hidden size`;
    }
    return shape.tiedHead
      ? 'its head is the embedding, and llama.cpp wants one of its own here; quantize it (keepHead: false)'
      : null;
  },
};
