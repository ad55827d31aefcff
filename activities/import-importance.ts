import { importanceName, meanSquares, readImportance } from '../engine/checkpoints';
import { bytesOf } from '../engine/numbers';
import { type ArtifactRef, type ModelPlan, QuantloomError } from '../engine/spec';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, perform } from './step';

interface ImportInput {
  /** The importance matrix, by its content; `at.file` is its path. */
  readonly matrix: ArtifactRef;
  /** Module names. */
  readonly linears: readonly string[];
}

/** By module name: F32 `[columns]`, mean squares of the input features. */
export type ImportanceTable = Readonly<Record<string, ArtifactRef>>;

const importStep = defineStep({
  name: 'import-importance',
  version: 1,
  run: async ({ matrix, linears }: ImportInput, bench) => {
    const path = matrix.at?.file as string;
    const file = await readImportance(path);
    if (file.sha256 !== matrix.sha256) {
      throw new QuantloomError('SourceChanged', `${path} has changed since the job was planned. Start the job again.`);
    }
    const table: Record<string, ArtifactRef> = {};
    for (const name of linears) {
      const named = importanceName(name);
      const entry = named && file.entries.get(named.name);
      const means = entry && meanSquares(entry, named.expert);
      if (!means) throw new Error(`${path} has no entry for ${name}`);
      table[name] = await bench.write('importance', bytesOf(means), { dtype: 'F32', shape: [means.length] });
    }
    return { table: await bench.writeDocument(table) };
  },
});

/** Takes what the plan needs of an importance matrix into the store: workers do not need the file. @returns document: ImportanceTable; null: nothing. */
export async function importImportance(
  { importance, blocks }: ModelPlan,
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<ArtifactRef | null> {
  if (!importance) return null;
  const all = blocks.flatMap(({ stages }) => stages.flatMap(({ linears }) => linears));
  const linears = all.flatMap(({ name, recipe }) => (recipe?.importance === 'file' ? name : []));
  const { sha256, file } = importance;
  const matrix = { kind: 'document', sha256, bytes: 0, at: { file, offset: 0 } } as const;
  return (await perform(importStep, { matrix, linears }, runtime, attempt)).table;
}
