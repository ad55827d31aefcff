import fc from 'fast-check';
import { inLanes } from './in-lanes';

interface Done {
  readonly position: number;
  readonly by: string | undefined;
}

/** Work that ends when the test says so: `position@queue`, or `position@anybody`. */
function controlledWork({ gone = [] as string[], homeOf = (_: Done) => undefined as string | undefined } = {}) {
  const started: string[] = [];
  const running = new Map<string, { end: () => void; fail: (error: Error) => void }>();
  const settle = async () => {
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  };
  const work = (position: number, queue: string | undefined) => {
    const name = `${position}@${queue ?? 'anybody'}`;
    started.push(name);
    return new Promise<Done | null>((resolve, reject) => {
      const end = () => resolve(queue !== undefined && gone.includes(queue) ? null : { position, by: queue });
      running.set(name, { end, fail: reject });
    });
  };
  const ending = async (name: string, how: 'end' | 'fail' = 'end') => {
    const one = running.get(name);
    if (!one) throw new Error(`${name} is not running; ${[...running.keys()]}`);
    running.delete(name);
    one[how](new Error(`failed: ${name}`));
    await settle();
  };
  const run = (homes: readonly (string | undefined)[], width = 200) => inLanes(homes, work, homeOf, width);
  return { started, running, settle, ending, run };
}

const homes = (...counts: readonly (readonly [string | undefined, number])[]) =>
  counts.flatMap(([home, count]) => Array<string | undefined>(count).fill(home));

describe('inLanes', () => {
  it('gives all to anybody at once, in order and within the width, when nothing is at hand anywhere', async () => {
    const { started, settle, ending, run } = controlledWork();
    const all = run(homes([undefined, 5]), 3);
    await settle();
    expect(started).toEqual(['0@anybody', '1@anybody', '2@anybody']);
    await ending('1@anybody');
    expect(started.at(-1)).toBe('3@anybody');
    for (const position of [3, 0, 2, 4]) await ending(`${position}@anybody`);
    expect((await all).map(({ position }) => position)).toEqual([0, 1, 2, 3, 4]);
  });

  it('keeps two in the hands of every worker, its own first, and leaves one for whoever comes', async () => {
    const { started, settle, ending, run } = controlledWork();
    const all = run(homes(['a', 4], ['b', 4]));
    await settle();
    expect(started).toEqual(['0@a', '1@a', '4@b', '5@b', '3@anybody']);
    await ending('0@a');
    expect(started.slice(5)).toEqual(['2@a']);
    // What is its own is done: then what waits in the longest lane, from its end.
    await ending('1@a');
    expect(started.slice(6)).toEqual(['7@a']);
    for (const name of ['2@a', '7@a', '4@b']) await ending(name);
    for (const name of ['5@b', '6@a', '3@anybody']) await ending(name);
    expect((await all).map(({ by }) => by)).toEqual(['a', 'a', 'a', undefined, 'b', 'b', 'a', 'a']);
  });

  it('opens a lane for a worker that has come in through the common queue', async () => {
    const { started, settle, ending, run } = controlledWork({ homeOf: ({ by }) => by ?? 'new' });
    const all = run(homes(['a', 6]));
    await settle();
    expect(started).toEqual(['0@a', '1@a', '5@anybody']);
    await ending('5@anybody');
    expect(started.slice(3).sort()).toEqual(['2@anybody', '3@new', '4@new']);
    for (const name of ['0@a', '1@a', '2@anybody', '3@new', '4@new']) await ending(name);
    expect(await all).toHaveLength(6);
  });

  it('closes the lane of a worker that does not come, and gives what it held to anybody', async () => {
    const { started, settle, ending, run } = controlledWork({ gone: ['a'], homeOf: ({ by }) => by });
    const all = run(homes(['a', 5], ['b', 2]));
    await settle();
    expect(started).toEqual(['0@a', '1@a', '5@b', '6@b', '4@anybody']);
    await ending('0@a');
    expect(started.slice(5)).toEqual(['0@anybody', '2@anybody', '3@anybody']);
    await ending('1@a');
    expect(started.slice(8)).toEqual(['1@anybody']);
    for (const name of ['5@b', '6@b', ...[0, 1, 2, 3, 4].map((i) => `${i}@anybody`)]) await ending(name);
    expect((await all).map(({ position }) => position)).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  it('starts nothing after a failure, and throws the first one when nothing is running any more', async () => {
    const { started, running, settle, ending, run } = controlledWork();
    const all = run(homes(['a', 9]));
    let thrown: unknown;
    all.catch((error) => {
      thrown = error;
    });
    await settle();
    await ending('1@a', 'fail');
    await ending('0@a', 'fail');
    expect([started.length, thrown, [...running.keys()]]).toEqual([3, undefined, ['8@anybody']]);
    await ending('8@anybody');
    await expect(all).rejects.toThrow('failed: 1@a');
  });

  it('gives nothing for nothing', async () => {
    expect(await controlledWork().run([])).toEqual([]);
  });

  it('does every item once, whatever workers there are, leave and come', async () => {
    const queue = fc.constantFrom('a', 'b', 'c', undefined);
    await fc.assert(
      fc.asyncProperty(
        fc.array(queue, { maxLength: 40 }),
        fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 3 }),
        fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 1, maxLength: 9 }),
        fc.integer({ min: 1, max: 9 }),
        fc.infiniteStream(fc.integer({ min: 0, max: 3 })),
        async (homes, gone, takers, width, delays) => {
          const done = new Map<number, number>();
          const underWay = new Map<string | undefined, number>();
          const work = async (position: number, queue: string | undefined) => {
            underWay.set(queue, (underWay.get(queue) ?? 0) + 1);
            expect(underWay.get(queue)).toBeLessThanOrEqual(queue === undefined ? Math.max(width, 1) : 2);
            for (let turns = delays.next().value as number; turns > 0; turns--) await null;
            underWay.set(queue, (underWay.get(queue) as number) - 1);
            if (queue !== undefined && (gone as readonly string[]).includes(queue)) return null;
            done.set(position, (done.get(position) ?? 0) + 1);
            return { position, by: queue ?? takers[position % takers.length] };
          };
          const results = await inLanes(homes, work, ({ by }) => by, width);
          expect(results.map(({ position }) => position)).toEqual(homes.map((_, i) => i));
          expect([...done.values()]).toEqual(homes.map(() => 1));
        },
      ),
    );
  });
});
