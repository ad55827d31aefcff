import type { ArtifactRef, WidthErrors, WidthPlan } from '../engine/spec';
import { chooseWidths as choose, withWidths } from '../engine/widths';
import type { JobPlan } from './model-view';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, type Effort, perform } from './step';

export interface ChosenWidths extends Effort {
  /** Document: JobPlan, with the widths in the linears' recipes. */
  readonly plan: ArtifactRef;
  /** Document: WidthPlan. */
  readonly widths: ArtifactRef;
  /** The mean of bits that was reached. */
  readonly averageBits: number;
  /** How many linears have each width, by bits. */
  readonly linearsByBits: Readonly<Record<string, number>>;
}

export interface ChooseInput {
  readonly plan: ArtifactRef;
  /** Documents: WidthErrors[]. */
  readonly errors: readonly ArtifactRef[];
}

const chooseStep = defineStep({
  name: 'choose-widths',
  version: 1,
  run: async ({ plan, errors }: ChooseInput, bench) => {
    const { spec, ...model } = await bench.readDocument<JobPlan>(plan);
    const measured: WidthErrors[] = [];
    for (const document of errors) measured.push(...(await bench.readDocument<WidthErrors[]>(document)));
    const widths: WidthPlan = choose(model.blocks, spec, measured);
    const blocks = withWidths(model.blocks, widths, spec);
    const linearsByBits: Record<string, number> = {};
    for (const { recipe } of blocks.flatMap(({ stages }) => stages.flatMap(({ linears }) => linears))) {
      if (recipe) linearsByBits[recipe.bits] = (linearsByBits[recipe.bits] ?? 0) + 1;
    }
    return {
      plan: await bench.writeDocument({ ...model, blocks, spec }),
      widths: await bench.writeDocument(widths),
      averageBits: widths.averageBits,
      linearsByBits,
    };
  },
});

/** Chooses a width for every linear by the errors that were measured: the plan that the job goes on with. */
export function chooseWidths(input: ChooseInput, runtime: ActivityRuntime, attempt: Attempt): Promise<ChosenWidths> {
  return perform(chooseStep, input, runtime, attempt);
}
