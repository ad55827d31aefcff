import { ENDING, partsOf, STARTING, WAITING } from './split-run';

describe('the parts of a wall time', () => {
  const activity = (part: string, from: number, to: number) => ({ part, from, to, rank: 0 });
  const step = (part: string, from: number, to: number) => ({ part, from, to, rank: 1 });

  it('begin with the start, end with the end, and wait in between', () => {
    expect(partsOf([step('a', 1000, 3000), step('b', 4000, 9000)], 0, 10_000)).toEqual({
      [STARTING]: 1,
      a: 2,
      [WAITING]: 1,
      b: 5,
      [ENDING]: 1,
    });
  });

  it('show a step in place of its activity, and the activity where no step runs', () => {
    const parts = partsOf([activity('whole', 1000, 5000), step('inner', 2000, 4500)], 0, 6000);
    expect(parts).toEqual({ [STARTING]: 1, whole: 1.5, inner: 2.5, [ENDING]: 1 });
  });

  it('share the moments at which several are under way', () => {
    const parts = partsOf([step('a', 0, 4000), step('b', 2000, 6000)], 0, 6000);
    expect(parts).toEqual({ a: 3, b: 3 });
  });

  it('are all start where nothing ran', () => {
    expect(partsOf([], 0, 2500)).toEqual({ [STARTING]: 2.5 });
  });

  it('add up to the wall time', () => {
    const spans = Array.from({ length: 50 }, (_, i) => step(`p${i % 7}`, (i * 37) % 900, ((i * 37) % 900) + 20 + i));
    const total = Object.values(partsOf(spans, -100, 1100)).reduce((sum, seconds) => sum + seconds, 0);
    expect(total).toBeCloseTo(1.2, 9);
  });
});
