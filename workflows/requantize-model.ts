import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import {
  allHandlersFinished,
  CancellationScope,
  condition,
  defineSignal,
  executeChild,
  isCancellation,
  setCurrentDetails,
  setHandler,
  upsertMemo,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { ResolvedSource } from '../activities';
import type { JobResult, RequantizeRequest, RequantizeResult, ReviewNeeded } from '../engine/spec';
import { NEEDS_REVIEW_SIGNAL } from '../engine/spec/requantize';
import { onCpu } from './activity-proxies';
import { childOptions } from './child-options';
import { failAtOnce, rootFailure } from './fail-at-once';
import { Herald } from './herald';
import { quantizeModel } from './quantize-model';

const OUTCOME = defineSearchAttributeKey('QuantloomOutcome', SearchAttributeType.KEYWORD);

const needsReview = defineSignal<[ReviewNeeded]>(NEEDS_REVIEW_SIGNAL);

/**
 * Quantizes a model again when it has changed, or its recipe, or its texts: find out, quantize beside the promoted result, compare the two,
 * promote the new one or keep the old, tell.
 */
export async function requantizeModel(request: RequantizeRequest): Promise<RequantizeResult> {
  const herald = new Herald(request);
  setHandler(needsReview, ({ job, step, error }) => herald.tell('needs-review', `${step} of ${job}: ${error}`));
  try {
    const source = await resolve(request);
    if (source.known) return show(unchanged(source, source.known));

    const job = await quantize(request, source);
    const result = show(await settle(request, source, job));
    await herald.tell(result.outcome === 'promoted' ? 'promoted' : 'kept', result.reason);
    return result;
  } catch (error) {
    if (!isCancellation(error)) await herald.tell('failed', rootFailure(error).message);
    throw error;
  } finally {
    await CancellationScope.nonCancellable(() => condition(allHandlersFinished));
  }
}

function resolve(request: RequantizeRequest): Promise<ResolvedSource> {
  const startedAt = workflowInfo().startTime.getTime();
  return onCpu('has anything changed?')
    .resolveSource({ ...request, startedAt })
    .catch(failAtOnce);
}

/** A job like any other, which may need a person: this run waits for it. */
function quantize({ spec }: RequantizeRequest, { model, candidate }: ResolvedSource): Promise<JobResult> {
  const { workflowId } = workflowInfo();
  return executeChild(quantizeModel, {
    ...childOptions(`${workflowId}/quantize`, `quantize ${model}`),
    args: [{ ...spec, model, output: candidate.directory, overwrite: false }],
  }).catch(failAtOnce);
}

function settle(request: RequantizeRequest, source: ResolvedSource, job: JobResult): Promise<RequantizeResult> {
  const { revision, identity, files, candidate } = source;
  return onCpu('compare, then promote or keep')
    .settleCandidate({ ...request, revision, identity, files, candidate: candidate.name, bytes: job.outputBytes })
    .catch(failAtOnce);
}

function unchanged({ revision }: ResolvedSource, known: NonNullable<ResolvedSource['known']>): RequantizeResult {
  return { outcome: 'unchanged', reason: known.reason, revision, current: known.current, candidate: null };
}

/** Says in lists and on the run's page what became of it. */
function show(result: RequantizeResult): RequantizeResult {
  const { outcome, reason, revision, current } = result;
  upsertSearchAttributes([{ key: OUTCOME, value: outcome }]);
  upsertMemo({ reason });
  setCurrentDetails(`**${outcome}**: ${reason}\n\nsource ${revision}\n\ncurrent ${current ?? 'none'}`);
  return result;
}
