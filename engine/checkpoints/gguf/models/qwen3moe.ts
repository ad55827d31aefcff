import { decoderMetadata } from './decoder-metadata';
import { expertMetadata, expertWidths, QWEN_EXPERTS, refuseExperts } from './experts';
import type { GgufArchitecture } from './gguf-architecture';
import { LLAMA_MODULES } from './llama-modules';

/** Qwen3 with experts. */
export const ggufQwen3Moe: GgufArchitecture = {
  name: 'qwen3moe',
  modules: {
    ...LLAMA_MODULES,
    ...QWEN_EXPERTS,
    'model.layers.{n}.self_attn.q_norm': 'blk.{n}.attn_q_norm',
    'model.layers.{n}.self_attn.k_norm': 'blk.{n}.attn_k_norm',
  },
  metadata: (shape) =>
    new Map([
      ...decoderMetadata('qwen3moe', shape),
      ...expertMetadata('qwen3moe', shape),
      ...expertWidths('qwen3moe', shape),
    ]),
  permutedHeads: () => 0,
  extraTensors: () => new Map(),

  refuse(shape, tensors) {
    const refusal = refuseExperts(shape, true);
    if (refusal !== null) return refusal;
    if (shape.rotary?.llama3) return 'llama.cpp does not scale rotary positions in this architecture';
    const bias = tensors.find((name) => name.endsWith('o_proj.bias'));
    return bias === undefined ? null : `llama.cpp has no room for ${bias} in this architecture`;
  },
};
