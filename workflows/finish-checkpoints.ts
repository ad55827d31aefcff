import { workflowInfo } from '@temporalio/workflow';
import type { AssembledCheckpoint, MeasuredPerplexity } from '../activities';
import type { ArtifactRef, JobResult, MeanErrors } from '../engine/spec';
import { onCpu, onGpu } from './activity-proxies';
import type { Job } from './job';
import type { PreparedModel } from './prepare-model';
import type { FinishedLayer } from './quantize-layers';

/** Links the finished layers, and what no layer owns, to one checkpoint per format, beside the output. */
export async function assemble(
  { plan, table, files, calibration }: PreparedModel,
  layers: readonly FinishedLayer[],
  job: Job,
): Promise<readonly AssembledCheckpoint[]> {
  const remainder = await job.step('assembling', () =>
    onCpu('pack what no layer owns').packLayer({
      ...{ plan, table, block: null, quantized: {} },
      ...{ reports: [], history: null, retired: [] },
    }),
  );
  const shards = [...layers.map((layer) => layer.shards), remainder.shards];
  const reports = layers.map(({ report }) => report);
  const { checkpoints } = await job.step('assembling', () =>
    onCpu('assemble').assembleCheckpoints({
      plan,
      files,
      calibration,
      shards,
      reports,
      job: workflowInfo().workflowId,
    }),
  );
  return checkpoints;
}

/** Loads every checkpoint back with an independent decoder. */
export async function verify(checkpoints: readonly AssembledCheckpoint[], job: Job): Promise<void> {
  await job.step('verifying', () => onCpu('load back and verify').verifyCheckpoints({ checkpoints }));
}

/** Perplexity of the original and of the first checkpoint, when the spec asks for it. */
export async function evaluate(
  { plan, spec, source }: PreparedModel,
  checkpoints: readonly AssembledCheckpoint[],
  job: Job,
): Promise<MeasuredPerplexity | null> {
  if (spec.evaluation === null) return null;
  const measure = (name: string, checkpoint: ArtifactRef, staged?: AssembledCheckpoint) =>
    job.step('evaluating', () =>
      onGpu(`perplexity of the ${name}`).evaluate({ plan, checkpoint, ...(staged && { staged }) }),
    );
  const original = spec.evaluation.original ? (await measure('original', source)).perplexity : null;
  const [first] = checkpoints as readonly [AssembledCheckpoint];
  const result = await measure('result', first.checkpoint, first.files && first);
  job.board.evaluated({ original, quantized: result.perplexity });
  return { original, quantized: result.perplexity, textSha256: result.textSha256, scoredTokens: result.tokens };
}

/** Makes the checkpoints appear at the output, with what is known of the run. */
export async function publish(
  { plan, sourceBytes, widths }: PreparedModel,
  layers: readonly FinishedLayer[],
  checkpoints: readonly AssembledCheckpoint[],
  perplexity: MeasuredPerplexity | null,
  startedAt: number,
  job: Job,
): Promise<JobResult> {
  const { computed, cached, secondsSaved } = job.board.progress;
  const { workflowId } = workflowInfo();
  const run = { workflowId, startedAt, seconds: (Date.now() - startedAt) / 1000, computed, cached };
  const published = await job.step('publishing', () =>
    onCpu('publish').publishCheckpoints({ plan, checkpoints, perplexity, run }),
  );
  job.board.entered('done');
  return { ...published, widths, sourceBytes, perplexity, ...meanOf(layers), secondsSaved, ...run };
}

function meanOf(layers: readonly MeanErrors[]) {
  return {
    meanRelativeError: mean(layers.map(({ relativeError }) => relativeError)),
    meanRelativeErrorBeforeRefinement: mean(layers.map((layer) => layer.relativeErrorBeforeRefinement)),
  };
}

function mean(values: readonly (number | null)[]): number | null {
  const errors = values.filter((error) => error !== null);
  return errors.length > 0 ? errors.reduce((sum, error) => sum + error, 0) / errors.length : null;
}
