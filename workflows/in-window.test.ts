import { inWindow } from './in-window';

/** What a workflow's `condition` does, for code outside of one. */
const waitUntil = async (ready: () => boolean) => {
  while (!ready()) await new Promise((resolve) => setImmediate(resolve));
};

/** Work that ends when the test says so. */
function controlledWork() {
  const started: string[] = [];
  const ends = new Map<string, { resolve: (result: string) => void; reject: (error: Error) => void }>();
  const work = (item: string) => {
    started.push(item);
    return new Promise<string>((resolve, reject) => ends.set(item, { resolve, reject }));
  };
  const settle = () => waitUntil(counter(20));
  return {
    started,
    work,
    settle,
    finish: async (item: string) => {
      ends.get(item)?.resolve(item.toUpperCase());
      await settle();
    },
    fail: async (item: string, message: string) => {
      ends.get(item)?.reject(new Error(message));
      await settle();
    },
  };
}

function counter(turns: number): () => boolean {
  let left = turns;
  return () => left-- === 0;
}

describe('inWindow', () => {
  it('gives the results in the order of the items, whichever ends first', async () => {
    const { work, finish, settle } = controlledWork();
    const all = inWindow(['a', 'b', 'c'], () => 3, work, waitUntil);
    await settle();
    for (const item of ['c', 'a', 'b']) await finish(item);
    expect(await all).toEqual(['A', 'B', 'C']);
  });

  it('starts no more than the width allows, and the next when one ends', async () => {
    const { started, work, finish, settle } = controlledWork();
    const all = inWindow(['a', 'b', 'c', 'd'], () => 2, work, waitUntil);
    await settle();
    expect(started).toEqual(['a', 'b']);
    await finish('b');
    expect(started).toEqual(['a', 'b', 'c']);
    for (const item of ['a', 'c', 'd']) await finish(item);
    expect(await all).toEqual(['A', 'B', 'C', 'D']);
  });

  it('heeds a width that changes on the way', async () => {
    const { started, work, finish, settle } = controlledWork();
    let width = 1;
    const all = inWindow(['a', 'b', 'c', 'd', 'e'], () => width, work, waitUntil);
    await settle();
    width = 3;
    await settle();
    expect(started).toEqual(['a', 'b', 'c']);
    width = 1;
    for (const item of ['a', 'b']) await finish(item);
    expect(started).toEqual(['a', 'b', 'c']);
    for (const item of ['c', 'd', 'e']) await finish(item);
    expect(await all).toHaveLength(5);
  });

  it('throws the first failure, once nothing is running any more, and starts nothing more', async () => {
    const { started, work, finish, fail, settle } = controlledWork();
    let outcome = 'running';
    const all = inWindow(['a', 'b', 'c', 'd'], () => 3, work, waitUntil).catch((error: Error) => {
      outcome = error.message;
    });
    await settle();
    await fail('b', 'first');
    await fail('a', 'second');
    expect(outcome).toBe('running');
    await finish('c');
    expect(outcome).toBe('first');
    expect(started).toEqual(['a', 'b', 'c']);
    await all;
  });

  it('lets what runs end before a failure of the items themselves is thrown', async () => {
    const { work, finish, settle } = controlledWork();
    let outcome = 'running';
    async function* items() {
      yield 'a';
      throw new Error('no more items');
    }
    const all = inWindow(items(), () => 2, work, waitUntil).catch((error: Error) => {
      outcome = error.message;
    });
    await settle();
    expect(outcome).toBe('running');
    await finish('a');
    expect(outcome).toBe('no more items');
    await all;
  });

  it('asks for an item only when there is room for it', async () => {
    const { work, finish, settle } = controlledWork();
    const asked: string[] = [];
    async function* items() {
      for (const item of ['a', 'b', 'c']) {
        asked.push(item);
        yield item;
      }
    }
    const all = inWindow(items(), () => 1, work, waitUntil);
    await settle();
    expect(asked).toEqual(['a']);
    await finish('a');
    expect(asked).toEqual(['a', 'b']);
    for (const item of ['b', 'c']) await finish(item);
    expect(await all).toEqual(['A', 'B', 'C']);
  });

  it('gives nothing for no items', async () => {
    expect(await inWindow([], () => 1, controlledWork().work, waitUntil)).toEqual([]);
  });
});
