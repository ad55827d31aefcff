import { calibratingStage, capturedInputs } from '../models';
import type { Architecture, Block, LinearShape, ModelShape, Stage } from '../models/architecture';
import { plannedGroups, type ScalingGroup, scalingGroups } from '../scaling';
import type { BlockPlan, ModelPlan, QuantizationSpec, StagePlan } from '../spec';

/** What the estimates are made from. */
export interface WorkToDo {
  readonly spec: QuantizationSpec;
  readonly plan: ModelPlan;
  readonly architecture: Architecture;
  readonly shape: ModelShape;
  /** Those that are planned, in the order of `plan.blocks`. */
  readonly blocks: readonly Block[];
}

/** Tokens of the calibration set; 0 when nothing is calibrated. */
export function calibrationTokens({ plan, spec }: WorkToDo): number {
  return plan.slices.reduce((sum, { sequences }) => sum + sequences, 0) * spec.calibration.sequenceLength;
}

/** Entries of all matrices XᵀX that a stage sums. */
export function gramEntries(stage: Stage | undefined, { calibration }: QuantizationSpec): number {
  return stage ? total(capturedInputs(calibratingStage(stage, calibration)).map(({ columns }) => columns ** 2)) : 0;
}

/** Share of all tokens that pass a linear of a stage while it calibrates, on average. */
export function shareOfTokens(
  { expert }: Pick<LinearShape, 'expert'>,
  { allExperts }: Pick<Stage, 'allExperts'>,
  { experts }: ModelShape,
): number {
  return expert === undefined || allExperts || !experts ? 1 : experts.perToken / experts.count;
}

/** Whether a linear of the stage makes up for what has gone wrong upstream. */
export function hasMismatch({ linears }: StagePlan): boolean {
  return linears.some(({ recipe }) => recipe?.mismatch);
}

/** Whether the original model passes through a block beside the other: while there, or after it, a linear has a mismatch. */
export function passesOriginal({ index }: Pick<BlockPlan, 'index'>, { plan }: Pick<WorkToDo, 'plan'>): boolean {
  return plan.blocks.slice(index).some(({ stages }) => stages.some(hasMismatch));
}

/** By planned block: the groups of linears whose input channels are scaled. */
export function scaledGroups({ spec, plan, architecture, shape, blocks }: WorkToDo): readonly ScalingGroup[][] {
  return plan.blocks.map(({ index }) =>
    spec.scaling === 'none'
      ? []
      : plannedGroups(plan, index, scalingGroups(architecture, shape, blocks[index] as Block)),
  );
}

export function total(values: Iterable<number>): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}

/** 0 of none. As many as there are: a model may have more tensors than a call has room for arguments. */
export function largest(values: Iterable<number>): number {
  let found = 0;
  for (const value of values) found = Math.max(found, value);
  return found;
}
