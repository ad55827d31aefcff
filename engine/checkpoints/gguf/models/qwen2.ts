import { decoderMetadata } from './decoder-metadata';
import type { GgufArchitecture } from './gguf-architecture';
import { LLAMA_MODULES } from './llama-modules';

/** Qwen 2 and 2.5: Llama's modules; its rotary embedding turns halves, as the source does, so no row moves. */
export const ggufQwen2: GgufArchitecture = {
  name: 'qwen2',
  modules: LLAMA_MODULES,
  metadata: (shape) => decoderMetadata('qwen2', shape),
  permutedHeads: () => 0,
  extraTensors: () => new Map(),
};
