import { move, transferableSymbol, valueSymbol } from 'piscina';
import * as tasks from './tensor-tasks';

/** What the thread of tensor-threads.ts runs; results change hands without a copy. */
export const { measurePerplexity, openMismatch, openStage, runBatch } = tasks;

export async function runStage(task: tasks.StageTask): Promise<object> {
  const result = await tasks.runStage(task);
  const activations = [...result.activations.values()].map(({ data }) => data);
  return moved(result, [...activations, ...(result.gram ? [result.gram] : [])]);
}

export async function closeStage(): Promise<object> {
  const sums = await tasks.closeStage();
  return moved(sums, sums.gram ? [sums.gram] : []);
}

function moved(value: object, arrays: readonly Float32Array[]): object {
  const buffers = [...new Set(arrays.map(({ buffer }) => buffer as ArrayBuffer))];
  return move({ [transferableSymbol]: buffers, [valueSymbol]: value } as never) as object;
}
