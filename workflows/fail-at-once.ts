import { ActivityFailure, ApplicationFailure, ChildWorkflowFailure } from '@temporalio/workflow';
import { WORKER_LOST } from '../engine/spec/job';

/** For `catch` of a step that checks its input: what can never succeed fails the job at once, in the words of its cause. */
export function failAtOnce(error: unknown): never {
  const failure = rootFailure(error);
  if (failure instanceof ApplicationFailure && failure.nonRetryable && failure.type !== WORKER_LOST) {
    throw ApplicationFailure.nonRetryable(failure.message, failure.type, ...(failure.details ?? []));
  }
  throw error;
}

/** The failure that the chain of Temporal's failures ends in. */
export function rootFailure(error: unknown): Error {
  let failure = error as Error;
  while ((failure instanceof ActivityFailure || failure instanceof ChildWorkflowFailure) && failure.cause) {
    failure = failure.cause;
  }
  return failure;
}
