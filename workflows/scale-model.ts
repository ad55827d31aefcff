import type { ActivationRefs } from '../activities';
import type { ArtifactRef } from '../engine/spec';
import { onCpu } from './activity-proxies';
import type { Job } from './job';
import { timeForNewRun } from './new-run';
import type { PreparedModel } from './prepare-model';
import { type CarryOn, calibrate, hashesOf, type LayersSoFar } from './quantize-layers';

/** Where the pass stands that scales the input channels of the original model. */
export interface ScaledSoFar {
  /** By slice: what the next layer starts from. */
  readonly activations: readonly ActivationRefs[];
  readonly retired: readonly string[];
  /** Documents: TensorTable, one per layer. */
  readonly tables: readonly ArtifactRef[];
}

/**
 * The model with input channels scaled so that rounding costs less, when the spec asks for it: the original is calibrated layer after layer, and
 * the scales of one layer are searched while the next is being calibrated.
 */
export async function scaleModel(
  model: PreparedModel,
  start: LayersSoFar,
  job: Job,
  carryOn: CarryOn,
): Promise<{ readonly model: PreparedModel; readonly start: LayersSoFar }> {
  // Jobs that began before there was scaling have no such field.
  const { scaling = 'none' } = model.spec;
  if (scaling === 'none' || model.scaled) return { model, start };
  const { plan, table } = model;
  job.board.entered('scaling');
  // What the first layer starts from is needed once more, where linears are calibrated too.
  const keepsStart = !model.calibratesForScalingOnly;
  let { activations, retired } = start.scaling ?? { activations: start.activations, retired: [] };
  const parts = (start.scaling?.tables ?? []).map((part) => Promise.resolve(part));
  for (const block of model.blocks.slice(parts.length)) {
    if (timeForNewRun()) {
      await carryOn({ ...start, scaling: { activations, retired, tables: await Promise.all(parts) } });
    }
    const given = activations;
    const stages = block.stages.map(({ scaled, magnitudes: _, ...stage }) => ({
      ...stage,
      calibrated: scaled === true,
    }));
    const calibrated = await calibrate(model, { ...block, stages }, given, retired, job);
    const part = job.operator.reviewed(`${block.name} (scaling)`, null, async () => {
      const { index, name } = block;
      const { hessians } = calibrated;
      const result = await onCpu(`${name} · scale channels`).scaleBlock({ plan, table, block: index, hessians });
      job.board.counted(result);
      return result.tensors;
    });
    part.catch(() => undefined); // Whoever waits for it is told.
    parts.push(part);
    activations = calibrated.activations;
    retired = parts.length === 1 && keepsStart ? [] : hashesOf(given, activations);
  }
  const tables = await Promise.all(parts);
  const joined = await job.step('scaling', () => onCpu('join tables').joinTables({ table, parts: tables }));
  const { scaling: _, ...rest } = start;
  return {
    model: { ...model, table: joined.table, scaled: true },
    start: {
      ...rest,
      activations: keepsStart ? start.activations : [],
      retired: [...start.retired, ...retired, ...hashesOf(activations, [])],
    },
  };
}
