import type { ActivationRefs } from '../activities';
import type { ArtifactRef } from '../engine/spec';
import { onCpu } from './activity-proxies';
import type { CalibratedLayer } from './calibrate-layer';
import type { Job } from './job';
import { timeForNewRun } from './new-run';
import type { PreparedModel } from './prepare-model';
import { type CarryOn, calibrate, hashesOf, type LayersSoFar } from './quantize-layers';

/** Where the pass stands that measures the original model. */
export interface MeasuredSoFar {
  /** By slice: what the next layer starts from. */
  readonly activations: readonly ActivationRefs[];
  readonly retired: readonly string[];
  readonly layers: readonly Pick<CalibratedLayer, 'hessians' | 'errors'>[];
}

/**
 * Chooses a width for every linear, when the spec asks for an average: the original model is calibrated layer after layer, the error of
 * every linear is measured at every width, and one activity chooses. Where layers are independent their Hessians are used again.
 */
export async function chooseWidths(
  model: PreparedModel,
  start: LayersSoFar,
  job: Job,
  carryOn: CarryOn,
): Promise<{ readonly model: PreparedModel; readonly start: LayersSoFar }> {
  if (model.spec.averageBits === null || model.widths !== null) return { model, start };
  job.board.entered('measuring');
  const independent = model.spec.order === 'independent';
  let measured = start.measured ?? { activations: start.activations, retired: [], layers: [] };
  for (const block of model.blocks.slice(measured.layers.length)) {
    if (timeForNewRun()) await carryOn({ ...start, measured });
    const given = measured.activations;
    const { activations, hessians, errors } = await calibrate(model, block, given, measured.retired, job, true);
    // What the first layer starts from is needed once more, unless no layer is calibrated again.
    const keeps = measured.layers.length === 0 && !independent;
    const retired = keeps ? [] : hashesOf(given, activations);
    const layer = { hessians: independent ? hessians : {}, errors };
    measured = { activations, retired, layers: [...measured.layers, layer] };
  }
  const { layers, activations, retired } = measured;
  const chosen = await job.step('measuring', () =>
    onCpu('choose widths').chooseWidths({ plan: model.plan, errors: layers.flatMap(({ errors }) => errors) }),
  );
  const { plan, averageBits, linearsByBits } = chosen;
  return {
    model: { ...model, plan, widths: { averageBits, linearsByBits } },
    start: independent
      ? { ...start, activations: [], hessians: layers.map((layer) => layer.hessians) }
      : { ...start, retired: [...start.retired, ...retired, ...hashesOf(activations, [])] },
  };
}

export type StageHessians = Readonly<Record<string, ArtifactRef | null>>;
