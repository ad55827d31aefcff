/**
 * Works on items at the same time, as many as fit into `limit` together, at least one; they start in their order.
 *
 * @param costOf of an item, in the unit of the limit.
 * @returns the results, in the order of the items.
 * @throws what the first item that failed threw, once nothing is under way any more; after a failure no other item starts.
 */
export async function sideBySide<Item, Result>(
  items: readonly Item[],
  { costOf, limit }: { readonly costOf: (item: Item) => number; readonly limit: number },
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const started: Promise<Result>[] = [];
  const underWay = new Set<Promise<void>>();
  let failed = false;
  let cost = 0;
  for (const item of items) {
    const own = costOf(item);
    while (underWay.size > 0 && cost + own > limit) await Promise.race(underWay);
    if (failed) break;
    cost += own;
    const result = work(item);
    started.push(result);
    const end: Promise<void> = result.then(
      () => undefined,
      () => {
        failed = true;
      },
    );
    const done = end.then(() => {
      cost -= own;
      underWay.delete(done);
    });
    underWay.add(done);
  }
  await Promise.all(underWay);
  return Promise.all(started);
}
