import { requireVerified, verifyCheckpoint } from '../engine/checkpoints';
import type { AssembledCheckpoint } from './assemble-checkpoints';
import type { ActivityRuntime, Attempt } from './runtime';

/**
 * Loads every checkpoint back with an independent decoder.
 *
 * @throws QuantloomError VerificationFailed listing what is wrong.
 */
export async function verifyCheckpoints(
  input: { checkpoints: readonly AssembledCheckpoint[] },
  _runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<{ checks: number }> {
  let checks = 0;
  for (const { directory } of input.checkpoints) {
    attempt.progress({ directory });
    const result = await verifyCheckpoint(directory, { signal: attempt.signal });
    requireVerified(result);
    checks += result.checks.reduce((sum, { checked }) => sum + checked, 0);
  }
  return { checks };
}
