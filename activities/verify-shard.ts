import { type RecordedLinear, requireShardVerified, verifyShard } from '../engine/checkpoints';
import { type ArtifactRef, QuantloomError } from '../engine/spec';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, type Effort, perform } from './step';

export interface ShardInput {
  readonly shard: ArtifactRef;
  readonly format: string;
  readonly layout: string;
  /** By module: what the quantizer recorded of every linear that the shard holds quantized. */
  readonly linears: Readonly<Record<string, RecordedLinear>>;
}

export interface VerifiedShard extends Effort {
  /** How many things were compared. */
  readonly compared: number;
}

const verifyStep = defineStep({
  name: 'verify-shard',
  version: 1,
  run: async ({ shard, format, layout, linears }: ShardInput, bench) => {
    const { signal } = bench.attempt;
    bench.attempt.progress({ verifying: shard.sha256 });
    // From the store, whose hash is checked: what was in memory when it was packed proves nothing.
    const content = await bench.read(shard);
    const result = await verifyShard(content, { name: `shard ${shard.sha256}`, format, layout, linears }, { signal });
    requireShardVerified(result);
    return { compared: result.checks.reduce((sum, { checked }) => sum + checked, 0) };
  },
});

/**
 * Verifies a shard as it lies in the store; one that was found good is not looked at again. Of a bad one no record remains, neither
 * of its verification nor of its packing: the next attempt packs it anew.
 *
 * @throws QuantloomError VerificationFailed listing what is wrong.
 */
export async function verifyStoredShard(
  input: ShardInput,
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<VerifiedShard> {
  try {
    return await perform(verifyStep, input, runtime, attempt);
  } catch (error) {
    const packing = input.shard.from;
    if (packing && QuantloomError.is(error) && error.code === 'VerificationFailed') await runtime.store.forget(packing);
    throw error;
  }
}
