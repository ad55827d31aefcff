import type { Architecture, Block, ModelShape } from '../models/architecture';
import { gridKindOf } from '../quantizers';
import { plannedGroups, scalingGroups } from '../scaling';
import type { ModelPlan, QuantizationSpec } from '../spec';
import { type Findings, listed } from './findings';

/** Refuses scaling where it would change nothing or cannot be searched, and says which linears are left as they are. */
export function checkScaling(
  { scaling }: Pick<QuantizationSpec, 'scaling'>,
  plan: ModelPlan,
  model: { readonly architecture: Architecture; readonly shape: ModelShape; readonly blocks: readonly Block[] },
  findings: Findings,
): void {
  if (scaling === 'none') return;
  const quantized = plan.blocks.flatMap(({ stages }) =>
    stages.flatMap(({ linears }) => linears.filter(({ recipe }) => recipe !== null)),
  );
  const others = scaling === 'awq' ? quantized.filter(({ recipe }) => recipe && gridKindOf(recipe) !== 'affine') : [];
  if (others.length > 0) {
    const methods = [...new Set(others.map(({ recipe }) => recipe?.method))].join(', ');
    findings.refuse(
      'PlanRefused',
      'scaling',
      `Scales are searched for the integer grids of awq, gptq and rtn; ${listed(others.map(({ name }) => name))} ` +
        `${others.length === 1 ? 'is' : 'are'} on another (${methods}). Leave scaling out, or use one of these methods.`,
    );
    return;
  }
  const scaled = new Set(
    plan.blocks.flatMap(({ index }) =>
      plannedGroups(plan, index, scalingGroups(model.architecture, model.shape, model.blocks[index] as Block)).flatMap(
        ({ linears }) => linears.map(({ name }) => name),
      ),
    ),
  );
  if (scaled.size === 0 && quantized.length > 0) {
    findings.refuse(
      'PlanRefused',
      'scaling',
      `No linear of this ${model.architecture.name} can be scaled: its weights are stored transposed, or a linear that it would take is kept in ` +
        '16 bit. Set scaling to none.',
    );
    return;
  }
  if (scaling === 'smoothquant' && quantized.every(({ recipe }) => !recipe?.activations)) {
    findings.warn(
      'smoothquant makes inputs easier to quantize, and weights harder; here inputs stay as they are. Set activations to int8, or scaling to awq.',
    );
  }
  const left = quantized.filter(({ name }) => !scaled.has(name)).map(({ name }) => name);
  if (left.length === 0) return;
  findings.warn(
    `${listed(left, 1)}: quantized without scaling. Nothing before takes the scales up, or a linear that shares them is kept in 16 bit.`,
  );
}
