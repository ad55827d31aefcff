import { WorkflowFailedError } from '@temporalio/client';
import {
  ActivityFailure,
  ApplicationFailure,
  CancelledFailure,
  ChildWorkflowFailure,
  RetryState,
} from '@temporalio/common';
import { isCancellation, jobFailure } from './job-failure';

const NOT_RETRIED = RetryState.NON_RETRYABLE_FAILURE;

function failedWith(cause: Error): WorkflowFailedError {
  return new WorkflowFailedError('Workflow execution failed', cause, NOT_RETRIED);
}

function inActivity(cause: Error): ActivityFailure {
  return new ActivityFailure('Activity task failed', 'inspectModel', '1', NOT_RETRIED, 'worker', cause);
}

describe('what ended a job', () => {
  it('is the error with our code, however deep it lies', () => {
    const refusal = ApplicationFailure.nonRetryable('groupSize: 100 does not divide 256', 'PlanRefused');
    expect(jobFailure(failedWith(inActivity(refusal)))).toMatchObject({
      name: 'QuantloomError',
      code: 'PlanRefused',
      message: 'groupSize: 100 does not divide 256',
    });
  });

  it('is the innermost message otherwise', () => {
    const error = ApplicationFailure.retryable('out of cheese', 'TypeError');
    expect(jobFailure(failedWith(inActivity(error))).message).toBe('out of cheese');
    expect(jobFailure(failedWith(inActivity(new CancelledFailure('')))).message).toBe('Activity task failed');
  });

  it('is told apart from a cancellation, also in a layer', () => {
    const layer = new ChildWorkflowFailure(
      'default',
      { workflowId: 'j/layer-0', runId: 'r' },
      'quantizeLayer',
      NOT_RETRIED,
      new CancelledFailure(''),
    );
    expect(isCancellation(failedWith(layer))).toBe(true);
    expect(isCancellation(failedWith(new CancelledFailure('')))).toBe(true);
    expect(isCancellation(failedWith(ApplicationFailure.nonRetryable('x', 'PlanRefused')))).toBe(false);
    expect(isCancellation(new Error('no connection'))).toBe(false);
  });
});
