import type { GramSum } from './gram';
import { graphForward } from './graph-forward';
import { nativeForward } from './native-forward';
import { productKernels } from './product-kernels';
import type { StageBatch, StageStreamOptions } from './stage-stream';

/** The forward pass of a stage on one batch after another. */
export interface StageForward {
  /** Writes the outputs of the batch. With `chosen`, only what the graph multiplies for XᵀX is of meaning, and only of these sequences. */
  run(batch: ForwardBatch, chosen?: readonly number[]): Promise<Forwarded>;
}

export interface ForwardBatch extends StageBatch {
  readonly threads: number;
}

/** Until the next batch. */
export interface Forwarded {
  /** `[tokens]`: sums of squares of the captured input; not finite where it is not. */
  readonly energy: Float32Array;
  /** `[tokens, columns]`: the captured input; null where nobody asked, or where the graph multiplies it. */
  readonly captured: Float32Array | null;
}

/**
 * With native kernels and bfloat16 factors they compute all of it: onnxruntime has no bfloat16 products for CPUs, and its Node.js binding
 * copies what it returns. Else one graph does, with float32 products, or with products of rounded factors.
 *
 * @param sum XᵀX that the graph multiplies; null: none.
 * @param capturing others multiply what is captured.
 * @throws QuantloomError InvalidModel when a weight is missing or has another shape.
 */
export function stageForward(options: StageStreamOptions, sum: GramSum | null, capturing: boolean): StageForward {
  const native = productKernels(options);
  return native && options.precision === 'bfloat16'
    ? nativeForward(options, native)
    : graphForward(options, sum, capturing);
}
