import { setTimeout } from 'node:timers/promises';
import { sideBySide } from './side-by-side';

const costs = { costOf: (cost: number) => cost, limit: 10 };

describe('items side by side', () => {
  it('never cost more than the limit together, and give their results in order', async () => {
    let now = 0;
    let most = 0;
    const results = await sideBySide([4, 6, 5, 1, 9, 2], costs, async (cost) => {
      now += cost;
      most = Math.max(most, now);
      await setTimeout(10 - cost);
      now -= cost;
      return 2 * cost;
    });
    expect(results).toEqual([8, 12, 10, 2, 18, 4]);
    expect(most).toBe(10);
  });

  it('go one after another where each is beyond the limit', async () => {
    const events: string[] = [];
    await sideBySide([11, 12], costs, async (cost) => {
      events.push(`begin ${cost}`);
      await setTimeout(1);
      events.push(`end ${cost}`);
    });
    expect(events).toEqual(['begin 11', 'end 11', 'begin 12', 'end 12']);
  });

  it('fail as the first of them that failed, when all that began have ended', async () => {
    const ended: number[] = [];
    const work = sideBySide([3, 2, 4, 8], costs, async (cost) => {
      await setTimeout(cost);
      ended.push(cost);
      if (cost < 4) throw new Error(`of ${cost}`);
    });
    await expect(work).rejects.toThrow('of 3');
    expect(ended.sort()).toEqual([2, 3, 4]);
  });
});
