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

/** A Hessian that was just merged, for the step after: what its artifact holds. */
export interface HessianAtHand {
  sha256?: string;
  values?: Float32Array;
}

const mergeStep = defineStep({
  name: 'merge-hessian',
  version: 1,
  run: (input: MergeInput, bench) => borrowMemory((take) => merge(input, bench, take, take, {})),
});

/** `takeResult`: where the memory of the result comes from, which `atHand` gets. */
async function merge(
  { parts }: MergeInput,
  bench: Bench,
  take: TakeMemory,
  takeResult: TakeMemory,
  atHand: HessianAtHand,
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
  const values = new Float32Array(takeResult(bytes));
  values.set(hessian);
  const written = await bench.write('hessian', bytesOf(values), { dtype: 'F32', shape });
  Object.assign(atHand, { sha256: written.sha256, values });
  return { hessian: written, tokens };
}

/**
 * Sums the slices' XᵀX in slice order in float64: the bytes do not depend on who computed which slice, or when.
 *
 * @param next who goes on with the Hessian at once: spared reading it. What it holds lies in memory that `take` gave.
 */
export function mergeHessian(
  input: MergeInput,
  runtime: ActivityRuntime,
  attempt: Attempt,
  next?: { readonly take: TakeMemory; readonly atHand: HessianAtHand },
): Promise<MergedHessian> {
  const step = next
    ? {
        ...mergeStep,
        run: (input: MergeInput, bench: Bench) =>
          borrowMemory((take) => merge(input, bench, take, next.take, next.atHand)),
      }
    : mergeStep;
  return perform(step, input, runtime, attempt);
}
