import * as threads from 'node:worker_threads';
import { move, transferableSymbol, valueSymbol } from 'piscina';
import type { StageSums } from '../graphs';
import * as tasks from './tensor-tasks';
import { sendableError } from './thread-error';

/** What the thread of tensor-threads.ts runs; results change hands without a copy, and errors keep their codes. */
export const measurePerplexity = sending(tasks.measurePerplexity);
export const openStage = sending(tasks.openStage);
export const runBatch = sending(tasks.runBatch);

export const runStage = sending(async (task: tasks.StageTask): Promise<object> => {
  const result = await tasks.runStage(task);
  return moved(result, [...[...result.activations.values()].map(({ data }) => data), ...sumsOf(result)]);
});

export const closeStage = sending(async (): Promise<object> => {
  const sums = await tasks.closeStage();
  return moved(sums, sumsOf(sums));
});

function sending<Task, Result>(work: (task: Task) => Promise<Result>): (task: Task) => Promise<Result> {
  return (task) =>
    work(task).catch((error: unknown) => {
      throw sendableError(error);
    });
}

function sumsOf({ gram, mismatch }: StageSums): Float32Array[] {
  return [gram, mismatch?.sum, mismatch?.gram].filter((sum) => sum instanceof Float32Array);
}

/** What native code allocated cannot change hands. Node 20 copies it unasked; later ones want it left out, and have this to ask. */
const { isMarkedAsUntransferable = () => false } = threads as {
  readonly isMarkedAsUntransferable?: (buffer: ArrayBuffer) => boolean;
};

function moved(value: object, arrays: readonly Float32Array[]): object {
  const all = [...new Set(arrays.map(({ buffer }) => buffer as ArrayBuffer))];
  const buffers = all.filter((buffer) => !isMarkedAsUntransferable(buffer));
  return move({ [transferableSymbol]: buffers, [valueSymbol]: value } as never) as object;
}
