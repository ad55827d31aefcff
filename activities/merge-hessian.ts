import { bytesOf, float32View } from '../engine/numbers';
import { mergeHessians, mergeStacks } from '../engine/quantizers';
import type { ArtifactRef } from '../engine/spec';
import type { ArtifactReader } from '../engine/store';
import { borrowMemory, type TakeMemory } from './borrow-memory';
import type { ActivityRuntime, Attempt } from './runtime';
import { floatsOf, isStack } from './stacked-hessians';
import { type Bench, defineStep, type Effort, perform } from './step';

export interface MergedHessian extends Effort {
  /** F32 `[K, K]`: mean of x xᵀ over the tokens; of several inputs a stack, `[floats]`. */
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
  if (isStack(parts[0]?.gram)) return mergeApart({ parts }, bench);
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

/** The same of several inputs, one after the other. Nobody begins with what is not stored yet. */
async function mergeApart({ parts }: MergeInput, bench: Bench): Promise<Omit<MergedHessian, keyof Effort>> {
  const grams = parts.map(({ gram }) => gram);
  const merged = async () => {
    const { dtype, shape } = grams[0] as ArtifactRef;
    const readers: ArtifactReader[] = [];
    const writer = await bench.create('hessian', { dtype, shape });
    try {
      for (const { sha256 } of grams) readers.push(await bench.runtime.store.open(sha256));
      const write = (floats: Float32Array) => writer.write(bytesOf(floats));
      await mergeStacks(readers.map(floatsOf), write, { threads: bench.runtime.threads });
      for (const reader of readers) await reader.finish();
      return await writer.commit();
    } finally {
      for (const end of [...readers, writer]) await end.close();
    }
  };
  return {
    hessian: await bench.withArtifacts(grams, merged),
    tokens: parts.reduce((sum, { tokens }) => sum + tokens, 0),
  };
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
