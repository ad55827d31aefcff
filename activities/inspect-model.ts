import { residualEnd } from '../engine/models';
import type { Block } from '../engine/models/architecture';
import { planModel } from '../engine/planning';
import { needsHessian, needsMagnitudes } from '../engine/quantizers';
import { plannedGroups, scalingGroups } from '../engine/scaling';
import { type ArtifactRef, parseQuantizationSpec, type QuantizationSpec, QuantloomError } from '../engine/spec';
import { importImportance } from './import-importance';
import { describeModel } from './model-view';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, perform } from './step';

/** What a workflow has to know of a block to put its work in order. */
export interface BlockOutline {
  readonly index: number;
  readonly name: string;
  readonly stages: readonly {
    readonly name: string;
    /** Linears to quantize after this stage; 0: nothing. */
    readonly linears: number;
    /** Whether a Hessian is needed for them. */
    readonly calibrated: boolean;
    /** Set where the largest magnitude of their input is needed. */
    readonly magnitudes?: true;
    /** Set where the linears' input channels are scaled. */
    readonly scaled?: true;
    /** Set where a linear is to make up for what has gone wrong upstream: the stage, of this block or the next, whose `hidden` is behind it. */
    readonly makesUpFor?: string;
  }[];
}

export interface InspectedModel {
  readonly spec: QuantizationSpec;
  /** Document: JobPlan. */
  readonly plan: ArtifactRef;
  readonly modelName: string;
  /** `gptq 4 bit g128`. */
  readonly scheme: string;
  readonly blocks: readonly BlockOutline[];
  /** Slices of the calibration set; 0 when no linear needs calibration. */
  readonly slices: number;
  /** Set when nothing but the scaling of channels needs them. */
  readonly calibratesForScalingOnly?: true;
  readonly calibrationTokens: number;
  readonly parameters: number;
  readonly sourceBytes: number;
}

/** A layer's workflow may record 30 events per slice, and Temporal ends a history of 51,200. */
const MOST_SLICES = 1_000;

const keepPlan = defineStep({
  name: 'inspect-model',
  version: 1,
  run: async (plan: object, bench) => ({ plan: await bench.writeDocument(plan) }),
});

/**
 * Reads shapes only: a valid spec becomes a plan, or the job is refused before any work.
 *
 * @throws QuantloomError InvalidSpecification naming the fields, PlanRefused listing every refusal.
 */
export async function inspectModel(
  input: { spec: unknown },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<InspectedModel> {
  const spec = parseQuantizationSpec(input.spec);
  const { plan, estimate } = await planModel(spec, {
    storeDirectory: runtime.storeDirectory,
    sources: runtime.sources,
    signal: attempt.signal,
  });
  if (estimate.refusals.length > 0) {
    const reasons = estimate.refusals.map((refusal) => `${refusal.where}: ${refusal.message}`);
    throw new QuantloomError('PlanRefused', reasons.join('\n'), { details: { refusals: estimate.refusals } });
  }
  if (plan.slices.length > MOST_SLICES) {
    const sliceTokens = Math.ceil(estimate.calibrationTokens / MOST_SLICES);
    throw new QuantloomError(
      'PlanRefused',
      `calibration.sliceTokens: ${spec.calibration.sliceTokens} tokens a slice make ${plan.slices.length} slices of the calibration ` +
        `set; a job can have ${MOST_SLICES}. Make it ${sliceTokens} or more, or ask for fewer samples.`,
    );
  }
  const { blocks: known, architecture, shape } = describeModel({ ...plan, spec });
  const scaledStages = (index: number, block: Block): readonly string[] =>
    spec.scaling === 'none'
      ? []
      : plannedGroups(plan, index, scalingGroups(architecture, shape, block)).map(({ stage }) => stage);
  const blocks = plan.blocks.map((block) => {
    const scaled = scaledStages(block.index, known[block.index] as Block);
    const stages = block.stages.map(({ stage, linears }) => {
      const quantized = linears.filter((linear) => linear.recipe !== null);
      return {
        name: stage,
        linears: quantized.length,
        calibrated: quantized.some(needsHessian),
        ...(quantized.some(needsMagnitudes) && { magnitudes: true as const }),
        ...(scaled.includes(stage) && { scaled: true as const }),
        ...(quantized.some((linear) => linear.recipe?.mismatch) && {
          makesUpFor: residualEnd(known, block.index, stage)?.appliedBy.stage,
        }),
      };
    });
    return { index: block.index, name: block.name, stages };
  });
  const importanceTable = await importImportance(plan, runtime, attempt);
  const job = { ...plan, spec, ...(importanceTable && { importanceTable }) };
  const calibrated = blocks.some(({ stages }) => stages.some((stage) => stage.calibrated || stage.magnitudes));
  return {
    spec,
    plan: (await perform(keepPlan, job, runtime, attempt)).plan,
    modelName: plan.directory.split('/').at(-1) ?? plan.directory,
    scheme: schemeOf(spec),
    blocks,
    slices: plan.slices.length,
    ...(plan.slices.length > 0 && !calibrated && { calibratesForScalingOnly: true as const }),
    calibrationTokens: estimate.calibrationTokens,
    parameters: plan.parameters,
    sourceBytes: plan.sourceBytes,
  };
}

function schemeOf({ recipe, averageBits, scaling, importanceOnly }: QuantizationSpec): string {
  if (importanceOnly) return 'importance matrix';
  const group = recipe.perTensor ? 'per tensor' : recipe.groupSize === -1 ? 'per channel' : `g${recipe.groupSize}`;
  const scaled = scaling === 'none' || recipe.method === scaling ? '' : `${scaling}-scaled `;
  const inputs = recipe.activations && recipe.activations !== 'none' ? `, activations ${recipe.activations}` : '';
  if (recipe.floatType) return `${scaled}${recipe.method} ${recipe.floatType}${inputs}`;
  return `${scaled}${recipe.method} ${averageBits ?? recipe.bits} bit ${group}${recipe.symmetric ? '' : ' asymmetric'}${inputs}`;
}
