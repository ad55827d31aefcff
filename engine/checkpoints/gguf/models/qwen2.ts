import { llamaLike } from './gguf-architecture';

/** Qwen 2 and 2.5: Llama's modules; its rotary embedding turns halves, as the source does, so no row moves. */
export const ggufQwen2 = llamaLike({ name: 'qwen2', config: { modelClass: 'Qwen2ForCausalLM' } });
