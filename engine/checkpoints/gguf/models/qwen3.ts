import { llamaLike } from './gguf-architecture';
import { HEAD_NORMS, LLAMA_MODULES } from './llama-modules';
import { refuseOutputBias, refuseScaledRotary } from './refusals';

/** Qwen 3, dense: Qwen 2 with norms on the heads of queries and keys. */
export const ggufQwen3 = llamaLike({
  name: 'qwen3',
  config: { modelClass: 'Qwen3ForCausalLM' },
  modules: { ...LLAMA_MODULES, ...HEAD_NORMS },
  refuse: (shape, tensors) => refuseScaledRotary(shape) ?? refuseOutputBias(tensors),
});
