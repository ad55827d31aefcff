import { workflowInfo } from '@temporalio/workflow';
import type { ActivationRefs, ImportanceParts } from '../activities';
import type { ArtifactRef, JobResult } from '../engine/spec';
import { onCpu } from './activity-proxies';
import type { Job } from './job';
import type { PreparedModel } from './prepare-model';
import { type CarryOn, calibrate, hashesOf, type LayersSoFar } from './quantize-layers';

/** Where the pass over the original model stands. */
export interface CollectedSoFar {
  /** By slice: what the next layer starts from. */
  readonly activations: readonly ActivationRefs[];
  readonly retired: readonly string[];
  /** By block. */
  readonly parts: readonly ImportanceParts[];
}

/** In place of checkpoints: the original model is calibrated layer after layer, and what its linears are weighted by becomes one file. */
export async function collectImportance(
  model: PreparedModel,
  start: LayersSoFar,
  startedAt: number,
  job: Job,
  carryOn: CarryOn,
): Promise<JobResult> {
  const { plan, sourceBytes } = model;
  const { workflowId } = workflowInfo();
  job.board.entered('measuring');
  let collected: CollectedSoFar = start.collected ?? { activations: start.activations, retired: [], parts: [] };
  for (const block of model.blocks.slice(collected.parts.length)) {
    if (workflowInfo().continueAsNewSuggested) await carryOn({ ...start, collected });
    const given = collected.activations;
    job.board.layerBegan(block.index);
    const { activations, hessians } = await calibrate(model, block, given, collected.retired, job);
    const { parts } = await job.step('measuring', () =>
      onCpu(`${block.name} · diagonals`).extractImportance({ plan, hessians }),
    );
    const retired = [...hashesOf(given, activations), ...Object.values(hessians).flatMap(hashOf)];
    collected = { activations, retired, parts: [...collected.parts, parts] };
    job.board.layerMeasured(block.index);
  }
  const published = await job.step('publishing', () =>
    onCpu('publish').publishImportanceMatrix({ plan, parts: collected.parts, job: workflowId }),
  );
  const left = [...collected.retired, ...hashesOf(collected.activations, [])];
  await onCpu('drop activations').dropActivations({ sha256s: left });
  job.board.entered('done');
  const { computed, cached, secondsSaved } = job.board.progress;
  return {
    ...{ ...published, sourceBytes, bitsPerWeight: 16, widths: null, perplexity: null },
    ...{ meanRelativeError: null, meanRelativeErrorBeforeRefinement: null },
    ...{ computed, cached, secondsSaved, seconds: (Date.now() - startedAt) / 1000 },
  };
}

function hashOf(hessian: ArtifactRef | null): string[] {
  return hessian ? [hessian.sha256] : [];
}
