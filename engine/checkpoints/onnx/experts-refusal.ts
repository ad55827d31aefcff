import { QuantloomError } from '../../spec';

/** Why a mixture of experts is not exported. */
export function expertsRefusal(): QuantloomError {
  return new QuantloomError(
    'UnsupportedArchitecture',
    'The ONNX export has no operator for a mixture of experts (num_experts, num_local_experts). Write the format gptq or compressed-tensors.',
  );
}
