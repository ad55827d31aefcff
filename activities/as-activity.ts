import { ApplicationFailure, CancelledFailure, Context } from '@temporalio/activity';
import { QuantloomError } from '../engine/spec';
import type { ActivityRuntime, Attempt } from './runtime';
import { type BatchCarried, batchAfter, carriedBatch } from './smaller-batch';

/** A worker counts as gone after five that are missing. */
export const HEARTBEAT_MILLISECONDS = 2_000;

/**
 * Makes an activity of a plain function: it heartbeats as long as it runs, sees cancellation as an AbortSignal, and its
 * QuantloomErrors become typed failures, retried only where trying again may help. One that runs out of memory is tried again with a smaller batch,
 * which the heartbeat carries.
 */
export function asActivity<Input, Output>(
  runtime: ActivityRuntime,
  body: (input: Input, runtime: ActivityRuntime, attempt: Attempt) => Promise<Output>,
): (input: Input) => Promise<Output> {
  return async (input) => {
    const context = Context.current();
    let details: Readonly<Record<string, unknown>> = {};
    const began = performance.now();
    let outcome = 'failed';
    let batch: BatchCarried | undefined = carriedBatch(context.info.heartbeatDetails);
    const beat = setInterval(() => context.heartbeat({ ...details, ...batch }), HEARTBEAT_MILLISECONDS);
    const attempt: Attempt = {
      signal: context.cancellationSignal,
      progress: (latest) => {
        details = latest;
      },
      batch,
    };
    try {
      const output = await body(input, runtime, attempt);
      outcome = (output as { cached?: unknown } | undefined)?.cached === true ? 'cached' : 'computed';
      return output;
    } catch (error) {
      if (context.cancellationSignal.aborted) {
        outcome = 'cancelled';
        throw new CancelledFailure('The activity was cancelled', [], asError(error));
      }
      runtime.log('activity-failed', {
        activity: context.info.activityType,
        attempt: context.info.attempt,
        error: String(error),
      });
      batch = batchAfter(error, context.info.attempt) ?? batch;
      // The SDK sees to it that the last details arrive before the failure does.
      if (batch) context.heartbeat({ ...details, ...batch });
      throw asFailure(error);
    } finally {
      clearInterval(beat);
      const seconds = (performance.now() - began) / 1000;
      runtime.log('activity', { activity: context.info.activityType, outcome, seconds });
    }
  };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

function asFailure(error: unknown): Error {
  if (!QuantloomError.is(error)) return asError(error);
  return ApplicationFailure.create({
    type: error.code,
    message: error.message,
    nonRetryable: !error.retryable,
    details: error.options.details ? [error.options.details] : [],
    cause: asError(error.options.cause ?? error),
  });
}
