import { type ImportanceFile, importanceName, meanSquares, readImportance } from '../checkpoints';
import type { ModelPlan } from '../spec';

/** Mean squares of the input features of a linear, `[columns]`, as the plan's importance matrix has them. It is read once. */
export function openImportance({ importance }: ModelPlan): (module: string) => Promise<Float32Array | undefined> {
  let read: Promise<ImportanceFile> | null = null;
  return async (module) => {
    const named = importanceName(module);
    if (!importance || !named) return undefined;
    read ??= readImportance(importance.file);
    const entry = (await read).entries.get(named.name);
    return (entry && meanSquares(entry, named.expert)) ?? undefined;
  };
}
