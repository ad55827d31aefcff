import { allHandlersFinished, condition, continueAsNew, workflowInfo } from '@temporalio/workflow';
import type { AssembledCheckpoint, InspectedModel, MeasuredPerplexity } from '../activities';
import type { ArtifactRef, JobResult, Progress, QuantizationSpecInput } from '../engine/spec';
import { onCpu, onGpu } from './activity-proxies';
import { failAtOnce } from './fail-at-once';
import { inWindow } from './in-window';
import { type Job, runJob } from './job';
import { SLICES_AT_ONCE } from './layer-hands';
import type { StandingOrders } from './operator';
import { type LayersSoFar, quantizeLayers } from './quantize-layers';

/** An inspected model, fetched, and the text that it is calibrated on. */
export interface PreparedModel extends InspectedModel {
  /** Document: TensorTable. */
  readonly table: ArtifactRef;
  /** Document: SHA-256 and size of every source file. */
  readonly files: ArtifactRef;
  /** The source model as a whole. */
  readonly source: ArtifactRef;
  /** Null when nothing needs calibration. */
  readonly calibration: { readonly tokens: ArtifactRef; readonly textSha256: string } | null;
}

/** What a job that continues as new takes along. */
export interface CarriedJob {
  readonly model: PreparedModel;
  readonly layers: LayersSoFar;
  readonly progress: Progress;
  readonly orders: StandingOrders;
  readonly startedAt: number;
}

/**
 * Turns a model into quantized checkpoints: inspect it, fetch it, tokenize and embed the calibration text, quantize layer after
 * layer, assemble, verify, evaluate, publish.
 */
export async function quantizeModel(spec: QuantizationSpecInput, carried?: CarriedJob): Promise<JobResult> {
  const startedAt = carried?.startedAt ?? Date.now();

  return runJob(carried, async (job) => {
    const model = carried?.model ?? (await prepare(spec, job));
    const start = carried?.layers ?? (await embed(model, job));

    job.board.entered('quantizing');
    const layers = await quantizeLayers(model, start, job, async (soFar) => {
      await condition(allHandlersFinished);
      return continueAsNew<typeof quantizeModel>(spec, {
        model,
        layers: soFar,
        progress: job.board.progress,
        orders: job.operator.orders,
        startedAt,
      });
    });

    const { plan, table, files, calibration } = model;
    const remainder = await job.step('assembling', () =>
      onCpu('pack what no layer owns').packLayer({
        plan,
        table,
        block: null,
        quantized: {},
        reports: [],
        history: null,
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
    await job.step('verifying', () => onCpu('load back and verify').verifyCheckpoints({ checkpoints }));
    const perplexity = await evaluate(model, checkpoints, job);

    const { computed, cached } = job.board.progress;
    const run = {
      workflowId: workflowInfo().workflowId,
      startedAt,
      seconds: (Date.now() - startedAt) / 1000,
      computed,
      cached,
    };
    const published = await job.step('publishing', () =>
      onCpu('publish').publishCheckpoints({ plan, checkpoints, perplexity, run }),
    );
    job.board.entered('done');
    return { ...published, sourceBytes: model.sourceBytes, perplexity, meanRelativeError: mean(layers), ...run };
  });
}

/** From one JSON object to a fetched model: what is wrong with it is said here, before any layer is touched. */
async function prepare(spec: QuantizationSpecInput, job: Job): Promise<PreparedModel> {
  const model = await job.step('inspecting', () => onCpu('read shapes, plan').inspectModel({ spec }).catch(failAtOnce));
  job.board.inspected(model);
  const { plan } = model;
  const fetched = await job.step('fetching', () =>
    onCpu('hash and scan the weights').fetchModel({ plan }).catch(failAtOnce),
  );
  const calibration =
    model.slices > 0
      ? await job.step('tokenizing', () => onCpu('tokenize').tokenizeCalibration({ plan }).catch(failAtOnce))
      : null;
  const { table, files, source } = fetched;
  return { ...model, table, files, source, calibration };
}

/** The calibration slices as the first layer sees them. */
async function embed({ plan, table, calibration, slices }: PreparedModel, job: Job): Promise<LayersSoFar> {
  const tokens = calibration?.tokens;
  if (!tokens) return { activations: [], applied: {}, retired: [], finished: [] };
  const embedded = await job.step('embedding', () =>
    inWindow(
      Array.from({ length: slices }, (_, slice) => slice),
      () => SLICES_AT_ONCE,
      (slice) => onCpu(`embed slice ${slice + 1} of ${slices}`).embedSlice({ plan, table, tokens, slice }),
    ),
  );
  const activations = embedded.map(({ hidden }) => ({ hidden }));
  return { activations, applied: {}, retired: [], finished: [] };
}

/** Perplexity of the original and of the first checkpoint, when the spec asks for it. */
async function evaluate(
  { plan, spec, source }: PreparedModel,
  checkpoints: readonly AssembledCheckpoint[],
  job: Job,
): Promise<MeasuredPerplexity | null> {
  if (spec.evaluation === null) return null;
  const measure = (name: string, checkpoint: ArtifactRef) =>
    job.step('evaluating', () => onGpu(`perplexity of the ${name}`).evaluate({ plan, checkpoint }));
  const original = spec.evaluation.original ? (await measure('original', source)).perplexity : null;
  const result = await measure('result', (checkpoints[0] as AssembledCheckpoint).checkpoint);
  job.board.evaluated({ original, quantized: result.perplexity });
  return { original, quantized: result.perplexity, textSha256: result.textSha256, scoredTokens: result.tokens };
}

function mean(layers: readonly { readonly relativeError: number | null }[]): number | null {
  const errors = layers.flatMap(({ relativeError }) => (relativeError === null ? [] : [relativeError]));
  return errors.length > 0 ? errors.reduce((sum, error) => sum + error, 0) / errors.length : null;
}
