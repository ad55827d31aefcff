import type { ModelPlan } from '../spec';

/**
 * The dtype in which a rotated tensor is handed on: float32 for a weight that is to be quantized, so that nothing is rounded twice;
 * that of the source for what stays in the checkpoint.
 */
export function rotatedDtype(
  { blocks, tensors }: Pick<ModelPlan, 'blocks' | 'tensors'>,
  name: string,
): 'F32' | 'F16' | 'BF16' {
  const quantized = blocks.some(({ stages }) =>
    stages.some(({ linears }) => linears.some((linear) => linear.recipe !== null && `${linear.name}.weight` === name)),
  );
  return quantized ? 'F32' : (tensors[name]?.dtype as 'F32' | 'F16' | 'BF16');
}
