import { type CheckpointReader, formatOf, openCheckpoint } from '../checkpoints';
import type { LocatedModel } from '../sources';
import type { LinearPlan, ModelPlan, QuantizationSpec, Recipe } from '../spec';
import { type Findings, listed } from './findings';

/**
 * The plan with the recipes that a quantized source has, where the method is `stored`; a linear that the source keeps in 16 bit is kept. As
 * it is where the method is another.
 */
export async function withStoredRecipes(
  plan: ModelPlan,
  { formats }: Pick<QuantizationSpec, 'formats'>,
  { quantized }: LocatedModel,
  findings: Findings,
): Promise<ModelPlan> {
  const asked = linearsOf(plan).filter(({ recipe }) => recipe?.method === 'stored');
  if (asked.length === 0) return plan;
  const reader = quantized === null ? null : await openCheckpoint(quantized);
  if (!reader?.linears) {
    findings.refuse(
      'PlanRefused',
      'model',
      'It is not quantized, so there are no codes to convert. Quantize it: quantloom quantize.',
    );
    return plan;
  }
  const { storage, settingsOf } = reader.linears;
  const floats = asked.some(({ name }) => reader.quantized(`${name}.weight`) && settingsOf(name)?.floatType);
  if (floats || !storage.grids.includes('affine')) {
    findings.refuse(
      'PlanRefused',
      'model',
      `Its linears (${reader.kind}) are not codes on integer grids, which other formats hold without a change. Quantize it again: quantloom quantize --dequantize.`,
    );
    return plan;
  }
  const transposed = asked.filter((linear) => 'transposed' in linear && linear.transposed === true);
  if (transposed.length > 0) {
    findings.refuse(
      'PlanRefused',
      'model',
      `${listed(transposed.map(({ name }) => name))}: weights that the source holds transposed are not converted.`,
    );
    return plan;
  }
  const recipeOf = (linear: LinearPlan): LinearPlan =>
    linear.recipe?.method === 'stored'
      ? { ...linear, recipe: storedRecipe(reader, linear.name, linear.recipe) }
      : linear;
  const blocks = plan.blocks.map((block) => ({
    ...block,
    stages: block.stages.map((stage) => ({ ...stage, linears: stage.linears.map(recipeOf) })),
  }));
  const planned = { ...plan, blocks };
  const shifted = linearsOf(planned).filter(({ recipe }) => recipe?.symmetric === false);
  const lossy = formats.filter((format) => formatOf(format).smallestZero > 0);
  if (shifted.length > 0 && lossy.length > 0) {
    findings.refuse(
      'PlanRefused',
      `format ${lossy.join(', ')}`,
      `It cannot hold the zero point 0, which the source may have (${listed(
        shifted.map(({ name }) => name),
        1,
      )}). Write the format gptq_v2 or compressed-tensors.`,
    );
  }
  return planned;
}

/** null: the source keeps it in 16 bit. */
function storedRecipe(reader: CheckpointReader, module: string, recipe: Recipe): Recipe | null {
  if (!reader.quantized(`${module}.weight`)) return null;
  const settings = reader.linears?.settingsOf(module);
  if (!settings) return null;
  const { bits, groupSize, symmetric, perTensor, activations } = settings;
  const actOrder = followsActOrder(reader.config) ? 'dynamic' : 'static';
  return {
    ...recipe,
    bits: bits as Recipe['bits'],
    groupSize: groupSize as Recipe['groupSize'],
    symmetric,
    actOrder,
    ...(perTensor && { perTensor }),
    ...(activations && { activations }),
  };
}

/** Whether columns are in groups by an index of their own, as configurations of GPTQ and compressed-tensors say. */
function followsActOrder(config: Readonly<Record<string, unknown>>): boolean {
  const said = JSON.stringify(config.quantization_config ?? {});
  return /"desc_act":true|"actorder":"(group|dynamic)"/.test(said);
}

function linearsOf({ blocks }: ModelPlan): LinearPlan[] {
  return blocks.flatMap(({ stages }) => stages.flatMap(({ linears }) => linears));
}
