import { bytesOf, float32View } from '../engine/numbers';
import { mergeHessians } from '../engine/quantizers';
import type { ArtifactRef } from '../engine/spec';
import { borrowMemory, type TakeMemory } from './borrow-memory';
import type { ActivityRuntime, Attempt } from './runtime';
import { type Bench, defineStep, type Effort, perform } from './step';

export interface MergedHessian extends Effort {
  /** F32 `[K, K]`: mean of x xᵀ over the tokens. */
  readonly hessian: ArtifactRef;
  readonly tokens: number;
}

export interface MergeInput {
  /** In slice order. */
  readonly parts: readonly { readonly gram: ArtifactRef; readonly tokens: number }[];
}

/** Who goes on with a Hessian at once, while it is being stored. */
export interface NextStep {
  /** Memory for the Hessian. */
  readonly take: TakeMemory;
  /** Called with what the artifact is going to hold, unless that was found in the store. */
  begin(hessian: Float32Array): void;
}

const mergeStep = defineStep({
  name: 'merge-hessian',
  version: 1,
  run: (input: MergeInput, bench) =>
    borrowMemory((take) => merge(input, bench, take, { take, begin: () => undefined })),
});

async function merge(
  { parts }: MergeInput,
  bench: Bench,
  take: TakeMemory,
  next: NextStep,
): Promise<Omit<MergedHessian, keyof Effort>> {
  const { bytes = 0, shape } = parts[0]?.gram ?? {};
  const memory = take(bytes);
  async function* grams() {
    for (const { gram, tokens } of parts) {
      // Of another length it is refused.
      const own = gram.bytes === bytes ? memory : take(gram.bytes);
      yield { gram: float32View(await bench.readInto(gram, own)), tokens };
    }
  }
  const sums = new Float64Array(take(2 * bytes));
  const { hessian, tokens } = await mergeHessians(grams(), { threads: bench.runtime.threads, memory: sums });
  const values = new Float32Array(next.take(bytes));
  values.set(hessian);
  next.begin(values);
  return { hessian: await bench.write('hessian', bytesOf(values), { dtype: 'F32', shape }), tokens };
}

/**
 * Sums the slices' XᵀX in slice order in float64: the bytes do not depend on who computed which slice, or when.
 */
export function mergeHessian(
  input: MergeInput,
  runtime: ActivityRuntime,
  attempt: Attempt,
  next?: NextStep,
): Promise<MergedHessian> {
  const step = next
    ? {
        ...mergeStep,
        run: (input: MergeInput, bench: Bench) => borrowMemory((take) => merge(input, bench, take, next)),
      }
    : mergeStep;
  return perform(step, input, runtime, attempt);
}
