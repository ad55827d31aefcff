import { move, transferableSymbol, valueSymbol } from 'piscina';
import type { StageResult } from '../graphs';
import { measurePerplexity, runStage as runStageTask, type StageTask } from './tensor-tasks';

/** What the thread of tensor-thread.ts runs; results change hands without a copy. */
export { measurePerplexity };

export async function runStage(task: StageTask): Promise<object> {
  const result = await runStageTask(task);
  return move({ [transferableSymbol]: buffersOf(result), [valueSymbol]: result } as never) as object;
}

function buffersOf({ activations, gram }: StageResult): ArrayBuffer[] {
  const arrays = [...[...activations.values()].map(({ data }) => data), ...(gram ? [gram] : [])];
  return [...new Set(arrays.map(({ buffer }) => buffer as ArrayBuffer))];
}
