import { needsHessian } from '../quantizers';
import type { BlockPlan } from '../spec';
import { passesOriginal, scaledGroups, total, type WorkToDo } from './work-to-do';

/**
 * Activities of a layer: `calibrate-slice` per stage and slice (order `layer`: once more for every stage but the first),
 * `quantize-linears` per stage with a linear to quantize (it merges the Hessian too, but in order `independent`, where that is an
 * activity per stage), and one `pack-layer`. Order `independent` drops activations apart from that. Where linears make up for a mismatch, the
 * original passes by in one `pass-original` per slice.
 */
export function activitiesOfBlock(block: BlockPlan, work: WorkToDo): number {
  const { plan, spec } = work;
  const stages = block.stages.length;
  const quantized = block.stages.filter(({ linears }) => linears.some(({ recipe }) => recipe !== null)).length;
  const separate = spec.order === 'independent' && plan.slices.length > 0;
  const calibrated = block.stages.filter(({ linears }) => linears.some(needsHessian)).length;
  const passes = spec.order === 'layer' ? 2 * stages - 1 : stages;
  const original = passesOriginal(block, work) ? 1 : 0;
  return (passes + original) * plan.slices.length + (separate ? calibrated + 1 : 0) + quantized + 1;
}

/**
 * Of choosing widths: a layer's calibration with `merge-hessian` per Hessian and one that drops activations, where it is not needed for
 * the result anyway (order `independent`); `measure-widths` per stage with a linear to quantize; and one `choose-widths`.
 */
function activitiesOfChoosing({ plan, spec }: WorkToDo): number {
  if (spec.averageBits === null) return 0;
  const stages = plan.blocks.flatMap((block) => block.stages);
  const measured = stages.filter(({ linears }) => linears.some(({ recipe }) => recipe !== null)).length;
  if (spec.order === 'independent' || plan.slices.length === 0) return measured + 1;
  const merged = stages.filter(({ linears }) => linears.some(needsHessian)).length;
  return stages.length * plan.slices.length + merged + plan.blocks.length + measured + 1;
}

function activitiesOfScaling(work: WorkToDo): number {
  const { plan, spec } = work;
  if (spec.scaling === 'none') return 0;
  const stages = total(plan.blocks.map((block) => block.stages.length));
  const merged = total(scaledGroups(work).map((groups) => groups.length));
  return stages * plan.slices.length + merged + 2 * plan.blocks.length + 1;
}

/**
 * Of the whole job; what happens once included: inspect, fetch, tokenize, pack the remainder, assemble, verify, publish. A rotation
 * adds `rotate-block` per block and for the remainder, and `join-tables`; scaling a calibration of the original, as choosing widths does, with
 * `scale-block` per block, and `join-tables`.
 */
export function activitiesOfJob(work: WorkToDo): number {
  const { plan, spec } = work;
  const blocks = total(plan.blocks.map((block) => activitiesOfBlock(block, work)));
  const calibration = plan.slices.length > 0 ? 1 + plan.slices.length : 0;
  const evaluations = spec.evaluation === null ? 0 : spec.evaluation.original ? 2 : 1;
  const rotations = spec.rotation === 'none' ? 0 : plan.blocks.length + 2;
  return (
    activitiesOfScaling(work) + 2 + rotations + calibration + activitiesOfChoosing(work) + blocks + 1 + 3 + evaluations
  );
}
