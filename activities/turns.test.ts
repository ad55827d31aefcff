import { setImmediate as nextTurn } from 'node:timers/promises';
import { Turns } from './turns';

const NEVER = new AbortController().signal;

/** Work that ends when the test says so. */
function held() {
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { work: () => ended, end };
}

describe('turns', () => {
  it('come to so many at a time, in the order in which they were asked for, also after a failure', async () => {
    const turns = new Turns(2);
    const order: string[] = [];
    const first = held();
    const all = [
      turns.take(NEVER, async () => {
        order.push('first');
        await first.work();
      }),
      turns.take(NEVER, async () => {
        await nextTurn();
        order.push('second');
        throw new Error('failed');
      }),
      turns.take(NEVER, async () => void order.push('third')),
      turns.take(NEVER, async () => void order.push('fourth')),
    ];
    await expect(all[1]).rejects.toThrow('failed');
    await Promise.all([all[2], all[3]]);
    expect(order).toEqual(['first', 'second', 'third', 'fourth']);
    first.end();
    await all[0];
  });

  it('are not waited for by what is cancelled, and not lost with it', async () => {
    const turns = new Turns(1);
    const first = held();
    const running = turns.take(NEVER, first.work);
    const cancelling = new AbortController();
    const never = jest.fn(async () => undefined);
    const cancelled = turns.take(cancelling.signal, never);
    const last = turns.take(NEVER, async () => 'done');
    cancelling.abort(new Error('cancelled'));
    await expect(cancelled).rejects.toThrow('cancelled');
    first.end();
    await running;
    expect(await last).toBe('done');
    await expect(turns.take(cancelling.signal, never)).rejects.toThrow('cancelled');
    expect(never).not.toHaveBeenCalled();
  });
});
