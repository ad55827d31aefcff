import { calibratingStage, inputsByLinear } from '../models';
import type { Block, Stage } from '../models/architecture';
import { needsHessian } from '../quantizers';
import type { ModelPlan, QuantizationSpec, Recipe, WidthErrors } from '../spec';
import { chooseWidths as choose, measureWidths, openWidths, recipesToMeasure, withWidths } from '../widths';
import type { Activations, DirectModel } from './direct-model';
import { withHessians } from './input-hessians';
import { runSlices } from './quantize-block';

/** The plan with the widths that the spec's average leads to: the same pass over the original model as the workflow's. */
export async function chooseWidths(
  model: DirectModel,
  plan: ModelPlan,
  spec: QuantizationSpec,
  embedded: readonly Activations[],
  { minimumZero, threads }: { readonly minimumZero: 0 | 1; readonly threads: number },
): Promise<ModelPlan> {
  if (spec.averageBits === null) return plan;
  const errors: WidthErrors[] = [];
  let activations = embedded;
  for (const { index, stages } of plan.blocks) {
    const block = model.blocks[index] as Block;
    for (const [position, stage] of stages.entries()) {
      const calibrating = calibratingStage(block.stages[position] as Stage, spec.calibration);
      const captured = await runSlices(model, calibrating, activations, {
        quantized: new Map(),
        gram: activations.length > 0 && stage.linears.some(needsHessian),
      });
      activations = captured.activations;
      const inputs = inputsByLinear(calibrating);
      const open = openWidths([{ stages: [stage] }], spec).groups.flat();
      await withHessians(open, { hessians: captured.hessians, inputs }, async (linear, hessian) => {
        const { name, rows, columns, recipe } = linear;
        const weight = (await model.weight(name)).data;
        const recipes = recipesToMeasure(recipe as Recipe, spec);
        errors.push(await measureWidths({ name, rows, columns, weight, ...hessian, recipes, minimumZero, threads }));
      });
    }
  }
  return { ...plan, blocks: withWidths(plan.blocks, choose(plan.blocks, spec, errors), spec) };
}
