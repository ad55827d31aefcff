import { smallestZeroOf } from '../engine/checkpoints';
import { weightTensor } from '../engine/models';
import { float32View } from '../engine/numbers';
import { needsHessian, prepareHessian } from '../engine/quantizers';
import type { ArtifactRef, Recipe, StagePlan, TensorTable, WidthErrors } from '../engine/spec';
import { measureWidths as measureLinear, openWidths, recipesToMeasure } from '../engine/widths';
import { readDocument, viewModel } from './model-view';
import { readFloats } from './read-floats';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, type Effort, perform } from './step';

export interface MeasuredWidths extends Effort {
  /** Document: WidthErrors[]. */
  readonly errors: ArtifactRef;
}

interface MeasureInput {
  readonly hessian: ArtifactRef | null;
  readonly linears: readonly {
    readonly name: string;
    readonly weight: ArtifactRef;
    readonly recipes: readonly Recipe[];
  }[];
  readonly minimumZero: 0 | 1;
}

const measureStep = defineStep({
  name: 'measure-widths',
  version: 1,
  run: async ({ hessian, linears, minimumZero }: MeasureInput, bench) => {
    const { signal } = bench.attempt;
    const { threads } = bench.runtime;
    const prepared = hessian ? await prepareHessian(float32View(await bench.read(hessian))) : null;
    const errors: WidthErrors[] = [];
    for (const { name, weight, recipes } of linears) {
      bench.attempt.progress({ linear: name });
      const { data, shape } = await readFloats(weight, bench);
      const [rows, columns] = shape as [number, number];
      const given = needsHessian({ recipe: recipes[0] ?? null }) ? prepared : null;
      const linear = { weight: data, rows, columns, hessian: given, minimumZero, name, threads, signal };
      errors.push(await measureLinear({ ...linear, recipes }));
    }
    return { errors: await bench.writeDocument(errors) };
  },
});

/** Measures the error of the linears that share one captured input at every width that the spec allows. */
export async function measureWidths(
  input: { plan: ArtifactRef; table: ArtifactRef; block: number; stage: string; hessian: ArtifactRef | null },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<MeasuredWidths> {
  const { plan, architecture } = await viewModel(input.plan, runtime, attempt);
  const table = await readDocument<TensorTable>(input.table, runtime, attempt);
  const stage = plan.blocks[input.block]?.stages.find(({ stage }) => stage === input.stage) as StagePlan;
  const weightOf = (name: string) =>
    table[weightTensor(architecture, name, (tensor) => tensor in table)] as ArtifactRef;
  const linears = openWidths([{ stages: [stage] }], plan.spec)
    .groups.flat()
    .map(({ name, recipe }) => ({
      name,
      recipes: recipesToMeasure(recipe as Recipe, plan.spec),
      weight: weightOf(name),
    }));
  const minimumZero = smallestZeroOf(plan.spec.formats);
  return perform(measureStep, { hessian: input.hessian, linears, minimumZero }, runtime, attempt);
}
