import { requireVerified, shardsOfCheckpoint, verifyCheckpoint } from '../engine/checkpoints';
import type { AssembledCheckpoint } from './assemble-checkpoints';
import { localCheckpoint } from './local-checkpoint';
import type { ActivityRuntime, Attempt } from './runtime';
import { verifyStoredShard } from './verify-shard';

/**
 * Verifies every checkpoint: the files of its directory against its manifest, and that each shard has been verified against the same
 * manifest; one that has not, by a version of the program that did not do that, is verified now.
 *
 * @throws QuantloomError VerificationFailed listing what is wrong.
 */
export async function verifyCheckpoints(
  input: { checkpoints: readonly AssembledCheckpoint[] },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<{ checks: number }> {
  let checks = 0;
  for (const checkpoint of input.checkpoints) {
    const directory = await localCheckpoint(checkpoint, runtime, attempt);
    attempt.progress({ directory });
    const result = await verifyCheckpoint(directory, { signal: attempt.signal, values: false });
    requireVerified(result);
    checks += result.checks.reduce((sum, { checked }) => sum + checked, 0);
    for (const { file, ...described } of await shardsOfCheckpoint(directory)) {
      attempt.signal.throwIfAborted();
      const { bytes, sha256 } = file;
      const shard = { kind: 'layer', sha256, bytes } as const;
      checks += (await verifyStoredShard({ shard, ...described }, runtime, attempt)).compared;
    }
  }
  return { checks };
}
