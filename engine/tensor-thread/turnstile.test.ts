import { setTimeout as delay } from 'node:timers/promises';
import { Turnstile } from './turnstile';

test('lets one in at a time, in the order of arrival', async () => {
  const turnstile = new Turnstile();
  const events: string[] = [];
  const visit = async (name: string, milliseconds: number) => {
    const leave = await turnstile.enter();
    events.push(`${name} in`);
    await delay(milliseconds);
    events.push(`${name} out`);
    leave();
    leave();
  };
  await Promise.all([visit('a', 20), visit('b', 1), visit('c', 10)]);
  expect(events).toEqual(['a in', 'a out', 'b in', 'b out', 'c in', 'c out']);
});

test('who is called off while waiting is passed over', async () => {
  const turnstile = new Turnstile();
  const leave = await turnstile.enter();
  const calledOff = new AbortController();
  const waiting = turnstile.enter({ signal: calledOff.signal });
  const after = turnstile.enter();
  calledOff.abort(new Error('called off'));
  leave();
  await expect(waiting).rejects.toThrow('called off');
  (await after)();
});

test('has several places; one who wants all of them holds up those who come later', async () => {
  const turnstile = new Turnstile(2);
  const events: string[] = [];
  const visit = async (name: string, places: number) => {
    const leave = await turnstile.enter({ places });
    events.push(`${name} in, ${turnstile.taken} taken`);
    await delay(10);
    events.push(`${name} out`);
    leave();
  };
  await Promise.all([visit('a', 1), visit('b', 1), visit('c', 5), visit('d', 1)]);
  expect(events).toEqual([
    'a in, 2 taken',
    'b in, 2 taken',
    'a out',
    'b out',
    'c in, 2 taken',
    'c out',
    'd in, 1 taken',
    'd out',
  ]);
});
