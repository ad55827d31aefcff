import type { ActivityRuntime } from './runtime';

/** Frees what no later stage reads. Should it be needed after all (a retried layer), it is computed again from its record. */
export async function dropActivations(input: { sha256s: readonly string[] }, runtime: ActivityRuntime): Promise<void> {
  for (const sha256 of input.sha256s) await runtime.store.recycle(sha256);
}
