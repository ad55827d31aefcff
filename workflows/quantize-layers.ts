import { startChild, workflowInfo } from '@temporalio/workflow';
import type { ActivationRefs, BlockOutline } from '../activities';
import type { ArtifactRef, MeanErrors } from '../engine/spec';
import { layerWorkflowId } from '../engine/spec/job';
import { onCpu } from './activity-proxies';
import { type CalibratedLayer, calibrateLayer } from './calibrate-layer';
import { childOptions } from './child-options';
import type { MeasuredSoFar, StageHessians } from './choose-widths';
import type { CollectedSoFar } from './collect-importance';
import { inWindow } from './in-window';
import type { Job } from './job';
import type { QuantizedRefs } from './layer-hands';
import { timeForNewRun } from './new-run';
import { OriginalsAhead } from './originals-ahead';
import type { PreparedModel } from './prepare-model';
import { type LayerInput, type LayerResult, quantizeLayer } from './quantize-layer';
import type { ScaledSoFar } from './scale-model';

/** Where the chain of layers stands. */
export interface LayersSoFar {
  /** By slice: what the next layer starts from. */
  readonly activations: readonly ActivationRefs[];
  readonly applied: QuantizedRefs;
  /** Of the first slices: the original model behind the next layer's first stage, where linears make up for what goes wrong upstream. */
  readonly original?: readonly ActivationRefs[];
  /** SHA-256 of what the last layer started from: kept for one layer more, then dropped. */
  readonly retired: readonly string[];
  readonly finished: readonly FinishedLayer[];
  /** While channels are being scaled. */
  readonly scaling?: ScaledSoFar;
  /** While an importance matrix is being collected. */
  readonly collected?: CollectedSoFar;
  /** While widths are being chosen. */
  readonly measured?: MeasuredSoFar;
  /** By block, when layers are independent and have been calibrated to choose widths. */
  readonly hessians?: readonly StageHessians[];
}

export interface FinishedLayer extends MeanErrors {
  /** By format: the layer as it will be published. */
  readonly shards: Readonly<Record<string, ArtifactRef>>;
  /** Document: BlockReport. */
  readonly report: ArtifactRef;
}

export type CarryOn = (soFar: LayersSoFar) => Promise<never>;

/**
 * Quantizes all layers, and packs each while the next one is being solved. Where each needs what the one before leaves behind, one after
 * another; else as many at once as the operator allows. When the history grows long or newer workers have come, `carryOn` continues the job as new.
 */
export function quantizeLayers(
  model: PreparedModel,
  start: LayersSoFar,
  job: Job,
  carryOn: CarryOn,
): Promise<readonly FinishedLayer[]> {
  job.board.entered('quantizing');
  const chained = model.slices > 0 && !model.calibratesForScalingOnly && model.spec.order !== 'independent';
  return (chained ? oneAfterAnother : manyAtOnce)(model, start, job, carryOn);
}

async function oneAfterAnother(model: PreparedModel, start: LayersSoFar, job: Job, carryOn: CarryOn) {
  let chain: Omit<LayersSoFar, 'finished'> = start;
  const finished = start.finished.map((layer) => Promise.resolve(layer));
  const originals = new OriginalsAhead(model, job);
  for (const block of model.blocks.slice(start.finished.length)) {
    if (timeForNewRun()) {
      await originals.settled();
      await carryOn({ ...chain, finished: await Promise.all(finished) });
    }
    const { activations, applied, retired } = chain;
    const original = await originals.at(block, chain.original ?? []);
    const behind = original?.behind ?? {};
    const given = { activations, applied, original: behind, hessians: {}, retired };
    const result = await solve(model, block, given, job);
    const packed = pack(model, block, result, job);
    packed.catch(() => undefined); // Whoever waits for it is told.
    finished.push(packed);
    const passedOn = original?.activations ?? [];
    chain = {
      activations: result.activations,
      original: passedOn,
      applied: result.applied,
      retired: [
        ...hashesOf(activations, result.activations),
        ...hashesOf([...(chain.original ?? []), ...Object.values(behind).flatMap(named)], passedOn),
      ],
    };
  }
  return Promise.all(finished);
}

async function manyAtOnce(model: PreparedModel, start: LayersSoFar, job: Job, carryOn: CarryOn) {
  let { activations, retired } = start;
  job.operator.expectSideBySide(model.spec.concurrency);

  /** Layers that are ready to be solved, in order; ends early when it is time for a new run. */
  async function* ready() {
    for (const block of model.blocks.slice(start.finished.length)) {
      if (timeForNewRun()) return;
      if (activations.length === 0) {
        yield { block, hessians: start.hessians?.[block.index] ?? {}, magnitudes: {} };
        continue;
      }
      const given = activations;
      const calibrated = await calibrate(model, block, given, retired, job);
      activations = calibrated.activations;
      retired = hashesOf(given, activations);
      yield { block, hessians: calibrated.hessians, magnitudes: calibrated.magnitudes ?? {} };
    }
  }

  const results = await inWindow(
    ready(),
    () => job.operator.concurrency,
    async ({ block, hessians, magnitudes }) => {
      const result = await solve(
        model,
        block,
        { activations: [], applied: {}, original: {}, hessians, magnitudes, retired: [] },
        job,
      );
      return pack(model, block, result, job);
    },
  );
  const all = [...start.finished, ...results];
  if (all.length < model.blocks.length) await carryOn({ ...start, activations, applied: {}, retired, finished: all });
  return all;
}

/** Has one layer quantized by a workflow of its own, as often as the operator asks. */
async function solve(
  { plan, table, spec }: PreparedModel,
  block: BlockOutline,
  given: Pick<LayerInput, 'activations' | 'applied' | 'original' | 'hessians' | 'magnitudes' | 'retired'>,
  { board, operator }: Job,
): Promise<LayerResult> {
  const result = await operator.reviewed(block.name, block.index, async () => {
    board.layerBegan(block.index);
    const skip = operator.skips(block.index);
    const layer = await startChild(quantizeLayer, {
      ...childOptions(layerWorkflowId(workflowInfo().workflowId, block.index), block.name),
      args: [{ plan, table, block, order: spec.order, solveParts: spec.solveParts, skip, ...given }],
    });
    return operator.attend<LayerResult>(layer);
  });
  board.layerDone(block.index, result, operator.skips(block.index));
  return result;
}

/** Has a layer stored in its final format. */
async function pack(
  { plan, table }: PreparedModel,
  { index, name }: BlockOutline,
  { quantized, reports, history, retired, relativeError, relativeErrorBeforeRefinement }: LayerResult,
  { board, operator }: Job,
): Promise<FinishedLayer> {
  const packed = await operator.reviewed(`${name} (packing)`, null, () =>
    onCpu(`${name} · pack`).packLayer({ plan, table, block: index, quantized, reports, history, retired }),
  );
  board.counted(packed);
  return { shards: packed.shards, report: packed.report as ArtifactRef, relativeError, relativeErrorBeforeRefinement };
}

/** Has the Hessians of one layer of the original model summed by a workflow of its own; `measure` asks for the errors of its widths. */
export async function calibrate(
  { plan, table }: PreparedModel,
  block: BlockOutline,
  activations: readonly ActivationRefs[],
  retired: readonly string[],
  { board, operator }: Job,
  measure = false,
): Promise<CalibratedLayer> {
  const result = await operator.reviewed(`${block.name} (calibration)`, block.index, async () => {
    const layer = await startChild(calibrateLayer, {
      ...childOptions(`${workflowInfo().workflowId}/calibrate-${block.index}`, `${block.name}: Hessians`),
      args: [{ plan, table, block, activations, retired, measure }],
    });
    return operator.attend<CalibratedLayer>(layer);
  });
  board.countedMany(result);
  return result;
}

function named(artifacts: readonly ArtifactRef[]): ActivationRefs[] {
  return artifacts.map((hidden) => ({ hidden }));
}

/** Artifacts of `given` that are not passed on. */
export function hashesOf(given: readonly ActivationRefs[], passedOn: readonly ActivationRefs[]): string[] {
  const all = (slices: readonly ActivationRefs[]) =>
    slices.flatMap((refs) => Object.values<ArtifactRef>(refs).map(({ sha256 }) => sha256));
  const kept = new Set(all(passedOn));
  return all(given).filter((sha256) => !kept.has(sha256));
}
