import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ENDING, partsOf, RECORDS, STARTING, splitRun, WAITING } from './split-run';

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

describe('the split of a run', () => {
  it('is read from the logs of the workers and from their processes', () => {
    const logs = mkdtempSync(join(tmpdir(), 'split-'));
    const start = Date.parse('2026-01-01T00:00:00.000Z');
    const at = (seconds: number) => new Date(start + seconds * 1000).toISOString();
    const lines = [
      { time: at(0.5), event: 'kernels', name: 'native' },
      { time: at(5), event: 'computed', step: 'merge-hessian', seconds: 3, parts: { store: 0.6 } },
      { time: at(5), event: 'activity', activity: 'mergeHessian', seconds: 4 },
      { time: at(8), event: 'activity', activity: 'publishCheckpoints', seconds: 2 },
    ];
    writeFileSync(
      join(logs, 'worker-cpu-1.log'),
      `${lines.map((line) => JSON.stringify(line)).join('\n')}\nnot JSON\n`,
    );
    const split = splitRun(logs, {
      wallSeconds: 10,
      startedAt: start,
      cpuSeconds: null,
      busiestPeakBytes: null,
      treePeakBytes: null,
      processes: [
        { commandLine: 'node dist/workers/main.js --queue cpu --name worker-cpu-1', cpuSeconds: 3, peakBytes: 7 },
        { commandLine: 'node dist/workers/main.js --queue cpu --name worker-cpu-2', cpuSeconds: 4, peakBytes: 5 },
        { commandLine: 'temporal server start-dev --headless', cpuSeconds: 1, peakBytes: 3 },
      ],
    });
    rmSync(logs, { recursive: true });
    const rounded = Object.entries(split.wallSeconds).map(([part, seconds]) => [part, Number(seconds.toFixed(6))]);
    expect(Object.fromEntries(rounded)).toEqual({
      [STARTING]: 1,
      [RECORDS]: 1,
      'merge-hessian': 2.4,
      'merge-hessian: store': 0.6,
      [WAITING]: 1,
      'publish-checkpoints': 2,
      [ENDING]: 2,
    });
    expect(split.cpuSeconds).toEqual({ 'cpu worker': 7, 'Temporal server': 1 });
    expect(split.peakBytes).toEqual({ 'cpu worker': 7, 'Temporal server': 3 });
    expect(split.steps).toEqual({ 'merge-hessian': { count: 1, seconds: 3, parts: { store: 0.6 } } });
  });
});
