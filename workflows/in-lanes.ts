/** What a worker has to do at once to be busy all the time: one activity computes while another reads. Given no more, it begins each at once. */
const AT_HAND = 2;

/**
 * Has every item worked on, where possible by the worker that has at hand what the item needs. Each such worker has a lane, kept as full as it can
 * work off at once; who has nothing left takes from the longest lane. Items of no worker, and one at a time of the longest lane, are for
 * whoever comes: so new workers come in. A lane whose worker does not come for its work is closed, and what waits in it is for anybody.
 *
 * @param homes by item: the queue of the worker; undefined: anybody's.
 * @param work of an item, by the worker of a queue or (undefined) by anybody; null: the worker has not come for it.
 * @param homeOf a result: whose lane it opens.
 * @param width items of nobody that are worked on at once, at most.
 * @returns the results in the order of the items.
 * @throws the first failure, once nothing is running any more; after it no other item starts.
 */
export async function inLanes<Result>(
  homes: readonly (string | undefined)[],
  work: (position: number, queue: string | undefined) => Promise<Result | null>,
  homeOf: (result: Result) => string | undefined,
  width: number,
): Promise<Result[]> {
  const results: Result[] = [];
  const failures: unknown[] = [];
  const anybodys: number[] = [];
  const lanes = new Map<string, number[]>();
  const closed = new Set<string>();
  const running = new Set<Promise<void>>();
  let atAnybodys = 0;

  const start = (position: number, queue: string | undefined) => {
    const one = run(position, queue).then(() => void running.delete(one));
    running.add(one);
  };
  const run = async (position: number, queue: string | undefined) => {
    if (queue === undefined) atAnybodys += 1;
    try {
      const result = await work(position, queue);
      if (result === null) close(queue as string, position);
      else {
        results[position] = result;
        open(homeOf(result));
      }
    } catch (error) {
      failures.push(error);
    }
    if (queue === undefined) atAnybodys -= 1;
    if (failures.length === 0) startNext(queue);
  };
  const startNext = (queue: string | undefined) => {
    if (queue === undefined || closed.has(queue)) return fillAnybodys();
    const next = lanes.get(queue)?.shift() ?? anybodys.shift() ?? fromLongest();
    if (next !== undefined) start(next, queue);
  };
  const fillAnybodys = () => {
    while (anybodys.length > 0 && atAnybodys < width) start(anybodys.shift() as number, undefined);
    if (atAnybodys > 0) return;
    const next = fromLongest();
    if (next !== undefined) start(next, undefined);
  };
  const fromLongest = () => {
    let longest: number[] = [];
    for (const lane of lanes.values()) if (lane.length > longest.length) longest = lane;
    return longest.pop();
  };
  const open = (queue: string | undefined) => {
    if (queue === undefined || lanes.has(queue) || closed.has(queue)) return;
    lanes.set(queue, []);
    for (let one = 0; one < AT_HAND; one++) startNext(queue);
  };
  const close = (queue: string, position: number) => {
    anybodys.push(position, ...(lanes.get(queue) ?? []));
    lanes.delete(queue);
    closed.add(queue);
  };

  for (const [position, home] of homes.entries()) {
    if (home === undefined) anybodys.push(position);
    else lanes.set(home, [...(lanes.get(home) ?? []), position]);
  }
  const idle: string[] = [];
  for (const [queue, lane] of lanes) {
    const own = lane.splice(0, AT_HAND);
    for (const position of own) start(position, queue);
    idle.push(...Array<string>(AT_HAND - own.length).fill(queue));
  }
  for (const queue of idle) startNext(queue);
  fillAnybodys();
  while (running.size > 0) await Promise.all(running);
  if (failures.length > 0) throw failures[0];
  return results;
}
