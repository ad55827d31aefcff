import { QuantloomError } from '../../../spec';
import type { PlacedTensor } from '../container/layout-gguf';
import type { GgufArchitecture } from './gguf-architecture';
import { expertOf, isRouter, sourceTensorName } from './tensor-names';

/** A tensor under its name in the source, and where it lies in a GGUF file. */
export interface SourceTensorPlace {
  readonly name: string;
  readonly place: PlacedTensor;
}

/**
 * What a tensor of a GGUF file is in the source: one tensor; of a stack, those of the experts; none, where only GGUF has it (rotary factors).
 *
 * @throws QuantloomError UnsupportedInput for experts whose gate and up are one tensor.
 */
export function sourceTensorsOf(architecture: GgufArchitecture, tensor: PlacedTensor): SourceTensorPlace[] {
  if (/\.ffn_gate_up_exps\./.test(tensor.name)) {
    throw new QuantloomError(
      'UnsupportedInput',
      `${tensor.name} is gate and up of all experts in one tensor, which is not read. Convert the model again without --fuse-gate-up-exps.`,
    );
  }
  const name = sourceTensorName(architecture, tensor.name);
  if (name === null) return [];
  const { shape } = tensor;
  if (expertOf(name) === null) {
    // Some producers have what weighs the shared expert as a vector.
    return [
      { name, place: isRouter(tensor.name) && shape.length === 1 ? { ...tensor, shape: [1, ...shape] } : tensor },
    ];
  }
  const [experts = 1, ...matrix] = shape.length === 3 ? shape : [1, ...shape];
  const bytes = tensor.bytes / experts;
  return Array.from({ length: experts }, (_, expert) => ({
    name: sourceTensorName(architecture, tensor.name, expert) as string,
    place: { ...tensor, shape: matrix, bytes, offset: tensor.offset + expert * bytes },
  }));
}
