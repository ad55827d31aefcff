/** State of a job for people: Temporal's status, except where a running job waits for its operator. */
export function jobState(status: string, { needsReview }: { readonly needsReview: boolean }): string {
  const state = status.toLowerCase();
  return state === 'running' && needsReview ? 'needs-review' : state;
}
