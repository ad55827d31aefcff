import { allHandlersFinished, condition } from '@temporalio/workflow';
import type { JobResult, Progress, QuantizationSpecInput } from '../engine/spec';
import { chooseWidths } from './choose-widths';
import { collectImportance } from './collect-importance';
import { assemble, evaluate, publish, verify } from './finish-checkpoints';
import { runJob } from './job';
import { goOnAsNewRun } from './new-run';
import type { StandingOrders } from './operator';
import { embedSlices, type PreparedModel, prepareModel } from './prepare-model';
import { type LayersSoFar, quantizeLayers } from './quantize-layers';
import { scaleModel } from './scale-model';

/** What a job that continues as new takes along. */
export interface CarriedJob {
  readonly model: PreparedModel;
  readonly layers: LayersSoFar;
  readonly progress: Progress;
  readonly orders: StandingOrders;
  readonly startedAt: number;
}

/**
 * Turns a model into quantized checkpoints: inspect it, fetch it, tokenize and embed the calibration text, scale channels and
 * choose widths where that is asked for, quantize layer after layer, assemble, verify, evaluate, publish.
 */
export async function quantizeModel(spec: QuantizationSpecInput, carried?: CarriedJob): Promise<JobResult> {
  const startedAt = carried?.startedAt ?? Date.now();

  return runJob(carried, async (job) => {
    const prepared = carried?.model ?? (await prepareModel(spec, job));
    const embedded = carried?.layers ?? (await embedSlices(prepared, job));
    const carryOn = (model: PreparedModel) => async (soFar: LayersSoFar) => {
      await condition(allHandlersFinished);
      const { progress } = job.board;
      const { orders } = job.operator;
      return goOnAsNewRun<typeof quantizeModel>(spec, { model, layers: soFar, progress, orders, startedAt });
    };

    if (prepared.spec.importanceOnly) return collectImportance(prepared, embedded, startedAt, job, carryOn(prepared));
    const scaled = await scaleModel(prepared, embedded, job, carryOn(prepared));
    const { model, start } = await chooseWidths(scaled.model, scaled.start, job, carryOn(scaled.model));
    const layers = await quantizeLayers(model, start, job, carryOn(model));

    const checkpoints = await assemble(model, layers, job);
    await verify(checkpoints, job);
    const perplexity = await evaluate(model, checkpoints, job);
    return publish(model, layers, checkpoints, perplexity, startedAt, job);
  });
}
