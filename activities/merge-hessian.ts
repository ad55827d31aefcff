import { bytesOf, float32View } from '../engine/numbers';
import { mergeHessians } from '../engine/quantizers';
import type { ArtifactRef } from '../engine/spec';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, type Effort, perform } from './step';

export interface MergedHessian extends Effort {
  /** F32 `[K, K]`: mean of x xᵀ over the tokens. */
  readonly hessian: ArtifactRef;
  readonly tokens: number;
}

export interface MergeInput {
  /** In slice order. */
  readonly parts: readonly { readonly gram: ArtifactRef; readonly tokens: number }[];
}

const mergeStep = defineStep({
  name: 'merge-hessian',
  version: 1,
  run: async ({ parts }: MergeInput, bench) => {
    async function* grams() {
      for (const { gram, tokens } of parts) yield { gram: float32View(await bench.read(gram)), tokens };
    }
    const { hessian, tokens } = await mergeHessians(grams());
    const content = bytesOf(Float32Array.from(hessian));
    return { hessian: await bench.write('hessian', content, { dtype: 'F32', shape: parts[0]?.gram.shape }), tokens };
  },
});

/** Sums the slices' XᵀX in slice order in float64: the bytes do not depend on who computed which slice, or when. */
export function mergeHessian(input: MergeInput, runtime: ActivityRuntime, attempt: Attempt): Promise<MergedHessian> {
  return perform(mergeStep, input, runtime, attempt);
}
