import { parseMaxMemory, parseShutdownGrace } from './limits';
import { shutdownTimes } from './shutdown';

describe('the bound on memory', () => {
  it.each([
    [undefined, null],
    ['', null],
    ['0', null],
    ['1', 1],
    ['24GiB', 24 * 2 ** 30],
    ['1.5g', 1.5 * 2 ** 30],
    ['512 MB', 512 * 2 ** 20],
  ])('%p is %p bytes', (value, bytes) => expect(parseMaxMemory(value, 'QUANTLOOM_MAX_MEMORY')).toBe(bytes));

  it.each(['much', '-1', '1 XB', '80%'])('%p is refused', (value) =>
    expect(() => parseMaxMemory(value, '--max-memory')).toThrow(`--max-memory is "${value}"; it must be a size`),
  );
});

describe('the grace of a shutdown', () => {
  it.each([
    [undefined, 5],
    ['0', 0],
    ['120', 120],
    ['86400', 86_400],
  ])('%p is %p seconds', (value, seconds) =>
    expect(parseShutdownGrace(value, 'QUANTLOOM_SHUTDOWN_GRACE')).toBe(seconds),
  );

  it.each(['-1', '1.5', '2m', '86401', '100000'])('%p is refused', (value) =>
    expect(() => parseShutdownGrace(value, '--shutdown-grace')).toThrow(`--shutdown-grace is "${value}"`),
  );

  it('is followed by a limit on the whole, so that the process ends in any case', () => {
    expect(shutdownTimes(5)).toEqual({ shutdownGraceTime: 5_000, shutdownForceTime: 20_000 });
    expect(shutdownTimes(120)).toEqual({ shutdownGraceTime: 120_000, shutdownForceTime: 135_000 });
  });
});
