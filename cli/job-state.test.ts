import { jobState } from './job-state';

describe('the state of a job', () => {
  it('is what Temporal says, unless a running job needs review', () => {
    expect(jobState('RUNNING', { needsReview: false })).toBe('running');
    expect(jobState('RUNNING', { needsReview: true })).toBe('needs-review');
    expect(jobState('CANCELLED', { needsReview: false })).toBe('cancelled');
    expect(jobState('FAILED', { needsReview: true })).toBe('failed');
    expect(jobState('COMPLETED', { needsReview: false })).toBe('completed');
  });
});
