/**
 * Runs `work` on every item, at most `width()` at a time, started in order; the next item is asked for when there is room.
 *
 * @returns the results in the order of the items.
 * @throws the first failure, once nothing is running any more.
 */
export async function inWindow<Item, Result>(
  items: Iterable<Item> | AsyncIterable<Item>,
  width: () => number,
  work: (item: Item, position: number) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  const failures: unknown[] = [];
  const running = new Set<Promise<void>>();
  let position = 0;
  for await (const item of items) {
    const place = position++;
    const task: Promise<void> = work(item, place)
      .then(
        (result) => {
          results[place] = result;
        },
        (error: unknown) => {
          failures.push(error);
        },
      )
      .then(() => {
        running.delete(task);
      });
    running.add(task);
    while (running.size >= width()) await Promise.race(running);
    if (failures.length > 0) break;
  }
  await Promise.all(running);
  if (failures.length > 0) throw failures[0];
  return results;
}
