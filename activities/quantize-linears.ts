import { meanErrors, type SignedReport, smallestZeroOf, weightSha256 } from '../engine/checkpoints';
import { weightTensor } from '../engine/models';
import { float32View } from '../engine/numbers';
import { prepareHessian, quantizeLinear, serializeQuantizedLinear } from '../engine/quantizers';
import type { ArtifactRef, MeanErrors, Recipe, StagePlan, TensorTable } from '../engine/spec';
import { type MergedHessian, type MergeInput, mergeHessian } from './merge-hessian';
import { readDocument, viewModel } from './model-view';
import { readFloats } from './read-floats';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, type Effort, perform } from './step';

/** The errors are means over the linears; null without a Hessian. */
export interface QuantizedLinears extends Effort, MeanErrors {
  /** By module name. */
  readonly linears: Readonly<Record<string, ArtifactRef>>;
  /** Document: SignedReport[]. */
  readonly reports: ArtifactRef;
  /** The step before, when the Hessian had to be merged first. */
  readonly merged: MergedHessian | null;
}

/** A Hessian, or the sums of the slices that it is merged from. */
export type HessianSource = ArtifactRef | MergeInput;

interface LinearsInput {
  readonly hessian: ArtifactRef | null;
  readonly linears: readonly { readonly name: string; readonly weight: ArtifactRef; readonly recipe: Recipe }[];
  /** Smallest zero point that every format asked for can store. */
  readonly minimumZero: 0 | 1;
}

const quantizeStep = defineStep({
  name: 'quantize-linears',
  version: 2,
  run: async (
    { hessian, linears, minimumZero }: LinearsInput,
    bench,
  ): Promise<Omit<QuantizedLinears, keyof Effort | 'merged'>> => {
    const { signal } = bench.attempt;
    const prepared = hessian ? await prepareHessian(float32View(await bench.read(hessian))) : null;
    const quantized: Record<string, ArtifactRef> = {};
    const reports: SignedReport[] = [];
    for (const { name, weight, recipe } of linears) {
      bench.attempt.progress({ linear: name });
      const { data, shape } = await readFloats(weight, bench);
      const [rows, columns] = shape as [number, number];
      const { linear, report } = await quantizeLinear({
        weight: data,
        rows,
        columns,
        hessian: recipe.method === 'gptq' ? prepared : null,
        recipe,
        minimumZero,
        name,
        threads: bench.runtime.threads,
        signal,
      });
      quantized[name] = await bench.write('quantized-linear', serializeQuantizedLinear(linear), { shape });
      reports.push({ name, recipe, ...report, weightSha256: weightSha256(linear) });
    }
    return { linears: quantized, reports: await bench.writeDocument(reports), ...meanErrors(reports) };
  },
});

/**
 * Quantizes the linears that share one captured input, and so one Hessian and one factorization of it. Two steps when the Hessian is not
 * merged yet: each is found or computed for itself, so a retry merges nothing twice.
 */
export async function quantizeLinears(
  input: { plan: ArtifactRef; table: ArtifactRef; block: number; stage: string; hessian: HessianSource | null },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<QuantizedLinears> {
  const { plan, architecture } = await viewModel(input.plan, runtime, attempt);
  const table = await readDocument<TensorTable>(input.table, runtime, attempt);
  const stage = plan.blocks[input.block]?.stages.find(({ stage }) => stage === input.stage) as StagePlan;
  const linears = stage.linears.flatMap(({ name, recipe }) =>
    recipe
      ? [{ name, recipe, weight: table[weightTensor(architecture, name, (tensor) => tensor in table)] as ArtifactRef }]
      : [],
  );
  const minimumZero = smallestZeroOf(plan.spec.formats);
  const merged =
    input.hessian !== null && 'parts' in input.hessian ? await mergeHessian(input.hessian, runtime, attempt) : null;
  const hessian = merged === null ? (input.hessian as ArtifactRef | null) : merged.hessian;
  return { ...(await perform(quantizeStep, { hessian, linears, minimumZero }, runtime, attempt)), merged };
}
