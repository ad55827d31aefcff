import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import {
  executeChild,
  setCurrentDetails,
  upsertMemo,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { ResolvedSource } from '../activities';
import type { JobResult, RequantizeRequest, RequantizeResult } from '../engine/spec';
import { onCpu } from './activity-proxies';
import { childOptions } from './child-options';
import { failAtOnce } from './fail-at-once';
import { quantizeModel } from './quantize-model';

const OUTCOME = defineSearchAttributeKey('QuantloomOutcome', SearchAttributeType.KEYWORD);

/**
 * Quantizes a model again when it has changed, or its recipe, or its texts: find out, quantize beside the promoted result, compare the two,
 * promote the new one or keep the old.
 */
export async function requantizeModel(request: RequantizeRequest): Promise<RequantizeResult> {
  const source = await resolve(request);
  if (source.known) return show(unchanged(source, source.known));

  const job = await quantize(request, source);
  return show(await settle(request, source, job));
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
