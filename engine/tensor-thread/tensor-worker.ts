import { move, transferableSymbol, valueSymbol } from 'piscina';
import * as tasks from './tensor-tasks';

/** What the thread of tensor-thread.ts runs; results change hands without a copy. */
export const { measurePerplexity, openMismatch, openStage } = tasks;

export async function runStage(task: tasks.StageTask): Promise<object> {
  const result = await tasks.runStage(task);
  const activations = [...result.activations.values()].map(({ data }) => data);
  return moved(result, [...activations, ...(result.gram ? [result.gram] : [])]);
}

export async function runBatch(batch: tasks.StoredBatch): Promise<object> {
  await tasks.runBatch(batch);
  return moved(batch, [...Object.values(batch.inputs), ...Object.values(batch.outputs)]);
}

export async function closeStage(): Promise<object> {
  const sums = await tasks.closeStage();
  return moved(sums, sums.gram ? [sums.gram] : []);
}

function moved(value: object, arrays: readonly tasks.StoredActivation[]): object {
  const buffers = [...new Set(arrays.map(({ buffer }) => buffer as ArrayBuffer))];
  return move({ [transferableSymbol]: buffers, [valueSymbol]: value } as never) as object;
}
