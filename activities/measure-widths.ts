import { smallestZeroOf } from '../engine/checkpoints';
import { calibratingStage, inputsByLinear, weightTensor } from '../engine/models';
import { float32View } from '../engine/numbers';
import { needsHessian, type PreparedHessian, prepareHessian } from '../engine/quantizers';
import type { ArtifactRef, Recipe, StagePlan, TensorTable, WidthErrors } from '../engine/spec';
import { measureWidths as measureLinear, openWidths, recipesToMeasure } from '../engine/widths';
import { readDocument, stageOf, viewModel } from './model-view';
import { readFloats } from './read-floats';
import type { ActivityRuntime, Attempt } from './runtime';
import { eachHessian, isStack } from './stacked-hessians';
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
    /** Which of the stacked Hessians is its own. Absent: there is one for all. */
    readonly input?: number;
  }[];
  readonly minimumZero: 0 | 1;
}

const measureStep = defineStep({
  name: 'measure-widths',
  version: 1,
  run: async ({ hessian, linears, minimumZero }: MeasureInput, bench) => {
    const { signal } = bench.attempt;
    const { threads } = bench.runtime;
    const errors: WidthErrors[] = [];
    const measure = async (
      { name, weight, recipes }: MeasureInput['linears'][number],
      prepared: PreparedHessian | null,
      tokens?: number,
    ) => {
      bench.attempt.progress({ linear: name });
      const { data, shape } = await readFloats(weight, bench);
      const [rows, columns] = shape as [number, number];
      const given = needsHessian({ recipe: recipes[0] ?? null }) ? prepared : null;
      const linear = { weight: data, rows, columns, hessian: given, minimumZero, name, threads, signal };
      errors.push(await measureLinear({ ...linear, recipes, ...(tokens !== undefined && { tokens }) }));
    };
    if (hessian && isStack(hessian)) {
      await eachHessian(hessian, bench, async (of) => {
        const own = linears.filter(({ input }) => input === of.input);
        const prepared = own.length > 0 ? await prepareHessian(of.hessian) : null;
        for (const linear of own) await measure(linear, prepared, of.tokens);
      });
    } else {
      const prepared = hessian ? await prepareHessian(float32View(await bench.read(hessian))) : null;
      for (const linear of linears) await measure(linear, prepared);
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
  const { plan, architecture, blocks } = await viewModel(input.plan, runtime, attempt);
  const table = await readDocument<TensorTable>(input.table, runtime, attempt);
  const stage = plan.blocks[input.block]?.stages.find(({ stage }) => stage === input.stage) as StagePlan;
  const weightOf = (name: string) =>
    table[weightTensor(architecture, name, (tensor) => tensor in table)] as ArtifactRef;
  const inputOf = inputsByLinear(calibratingStage(stageOf(blocks, input), plan.spec.calibration));
  const linears = openWidths([{ stages: [stage] }], plan.spec)
    .groups.flat()
    .map(({ name, recipe }) => ({
      name,
      recipes: recipesToMeasure(recipe as Recipe, plan.spec),
      weight: weightOf(name),
      ...(inputOf?.has(name) && { input: inputOf.get(name) as number }),
    }));
  const minimumZero = smallestZeroOf(plan.spec.formats);
  return perform(measureStep, { hessian: input.hessian, linears, minimumZero }, runtime, attempt);
}
