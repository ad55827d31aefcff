import type { ArtifactRef, TensorTable } from '../engine/spec';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, type Effort, perform } from './step';

export interface JoinInput {
  /** Document: TensorTable. */
  readonly table: ArtifactRef;
  /** Documents: TensorTable. What they hold replaces what `table` holds. */
  readonly parts: readonly ArtifactRef[];
}

const joinStep = defineStep({
  name: 'join-tables',
  version: 1,
  run: async ({ table, parts }: JoinInput, bench) => {
    const joined: Record<string, ArtifactRef> = {};
    for (const part of [table, ...parts]) Object.assign(joined, await bench.readDocument<TensorTable>(part));
    return { table: await bench.writeDocument(joined) };
  },
});

/** The model's table with some of its tensors replaced. */
export async function joinTables(
  input: JoinInput,
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<{ table: ArtifactRef } & Effort> {
  return perform(joinStep, input, runtime, attempt);
}
