/**
 * The damping for a Hessian that few tokens were summed into: with fewer tokens than columns it grows by how many are missing, up to 1, since the mean of
 * that many x xᵀ is off by about as much.
 *
 * @param tokens undefined: enough.
 */
export function dampingForTokens(damping: number, columns: number, tokens: number | undefined): number {
  if (tokens === undefined || tokens >= columns) return damping;
  return Math.min(1, (damping * columns) / Math.max(1, tokens));
}
