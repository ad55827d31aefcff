import { jobState } from './job-state';

describe('the state of a job', () => {
  it('is what Temporal says, unless the job needs review or was cancelled by its operator', () => {
    expect(jobState('RUNNING', { phase: 'quantizing', needsReview: false })).toBe('running');
    expect(jobState('RUNNING', { phase: 'quantizing', needsReview: true })).toBe('needs-review');
    expect(jobState('FAILED', { phase: 'cancelled', needsReview: false })).toBe('cancelled');
    expect(jobState('FAILED', { phase: 'quantizing', needsReview: true })).toBe('failed');
    expect(jobState('COMPLETED', { phase: 'done', needsReview: false })).toBe('completed');
  });
});
