import type { ModelShape } from '../../../models';

/** llama.cpp has rotary factors for Llama alone. */
export function refuseScaledRotary({ rotary }: ModelShape): string | null {
  return rotary?.llama3 ? 'llama.cpp does not scale rotary positions in this architecture' : null;
}

/** @param tensors names in the source. */
export function refuseOutputBias(tensors: readonly string[]): string | null {
  const bias = tensors.find((name) => name.endsWith('o_proj.bias'));
  return bias === undefined ? null : `llama.cpp has no room for ${bias} in this architecture`;
}
