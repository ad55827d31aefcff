import { condition } from '@temporalio/workflow';

/**
 * Runs `work` on every item, at most `width()` at a time, started in order; the next item is asked for when there is room.
 *
 * @param waitUntil in a workflow, its `condition`: notices at once when the width changes or the workflow is cancelled.
 * @returns the results in the order of the items.
 * @throws the first failure, once nothing is running any more.
 */
export async function inWindow<Item, Result>(
  items: Iterable<Item> | AsyncIterable<Item>,
  width: () => number,
  work: (item: Item, position: number) => Promise<Result>,
  waitUntil: (ready: () => boolean) => Promise<void> = condition,
): Promise<Result[]> {
  const results: Result[] = [];
  const failures: unknown[] = [];
  const running = new Set<Promise<void>>();
  const run = async (item: Item, position: number) => {
    try {
      results[position] = await work(item, position);
    } catch (error) {
      failures.push(error);
    }
  };
  let position = 0;
  try {
    for await (const item of items) {
      const task = run(item, position++).then(() => void running.delete(task));
      running.add(task);
      await waitUntil(() => running.size < width() || failures.length > 0);
      if (failures.length > 0) break;
    }
  } finally {
    await Promise.all(running);
  }
  if (failures.length > 0) throw failures[0];
  return results;
}
