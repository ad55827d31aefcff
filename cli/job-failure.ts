import { isGrpcServiceError, WorkflowFailedError, WorkflowNotFoundError } from '@temporalio/client';
import { ApplicationFailure, CancelledFailure, TerminatedFailure } from '@temporalio/common';
import { ERROR_CODES, type ErrorCode, QuantloomError } from '../engine/spec';

/** What reading a history answers with, as opposed to all other calls. */
const GRPC_NOT_FOUND = 5;

/** What ended a job, as one error: the innermost cause with a code of ours, else the innermost one. */
export function jobFailure(error: unknown): Error {
  let innermost: Error | null = null;
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (cause.message !== '') innermost = cause;
    if (cause instanceof ApplicationFailure && cause.type && cause.type in ERROR_CODES) {
      return new QuantloomError(cause.type as ErrorCode, cause.message, { cause: error });
    }
  }
  return innermost ?? new Error(String(error));
}

/** Whether the workflow itself has ended badly, as opposed to a server that does not answer now. */
export function isWorkflowFailure(error: unknown): error is WorkflowFailedError {
  return error instanceof WorkflowFailedError;
}

/** Whether somebody ended the job on purpose. */
export function isCancellation(error: unknown): boolean {
  if (!isWorkflowFailure(error)) return false;
  for (let cause: unknown = error.cause; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof CancelledFailure || cause instanceof TerminatedFailure) return true;
  }
  return false;
}

/** Errors of calls about a job: a job that does not exist becomes JobNotFound. */
export function jobCallError(error: unknown, id: string): Error {
  if (error instanceof WorkflowNotFoundError || (isGrpcServiceError(error) && error.code === GRPC_NOT_FOUND)) {
    return new QuantloomError('JobNotFound', `There is no job "${id}". \`quantloom list\` prints those there are.`, {
      cause: error,
    });
  }
  return jobFailure(error);
}
