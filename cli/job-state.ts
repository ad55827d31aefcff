/** State of a job for people: Temporal's status, except where the job itself knows better. */
export function jobState(
  status: string,
  job: { readonly phase: string | null; readonly needsReview: boolean },
): string {
  const state = status.toLowerCase();
  if (state === 'running') return job.needsReview ? 'needs-review' : state;
  // A job that its operator cancels ends itself, which Temporal calls a failure.
  return state === 'failed' && job.phase === 'cancelled' ? 'cancelled' : state;
}
