import Table from 'cli-table3';
import { ENDING, RECORDS, type RunSplit, STARTING, WAITING } from '../measure/split-run';

const SMALLEST_SHARE = 0.01;

/** Where the time of one run of Quantloom went, for the terminal. */
export function splitTable(split: RunSplit): string {
  const wall = new Table({ head: ['wall time', 's', '%'], style: { head: [], border: [] } });
  const total = sum(Object.values(split.wallSeconds));
  const row = (part: string, seconds: number) => [part, seconds.toFixed(2), ((100 * seconds) / total).toFixed(1)];
  const parts = falling(split.wallSeconds);
  const shown = parts.filter(([, seconds]) => seconds >= total * SMALLEST_SHARE);
  for (const [part, seconds] of shown) wall.push(row(part, seconds));
  const rest = parts.slice(shown.length);
  if (rest.length > 0) wall.push(row(`${rest.length} smaller ones`, sum(rest.map(([, seconds]) => seconds))));
  wall.push(['together', total.toFixed(2), '100']);
  const processes = new Table({ head: ['process', 'CPU s', 'peak MiB'], style: { head: [], border: [] } });
  for (const [role, seconds] of falling(split.cpuSeconds)) {
    processes.push([role, seconds.toFixed(2), ((split.peakBytes[role] ?? 0) / 2 ** 20).toFixed(0)]);
  }
  const share = (100 * orchestrationSeconds(split)) / total;
  return `${wall}\n${processes}\nTemporal, store and processes that start and end: ${share.toFixed(1)} % of the wall time`;
}

/** Wall time of all that is not computing: processes that start and end, Temporal between activities, keys and records, the store. */
export function orchestrationSeconds({ wallSeconds }: RunSplit): number {
  const orchestration = new Set<string>([STARTING, WAITING, ENDING, RECORDS]);
  const parts = Object.entries(wallSeconds).filter(([part]) => orchestration.has(part) || part.endsWith(': store'));
  return sum(parts.map(([, seconds]) => seconds));
}

export function falling(record: Readonly<Record<string, number>>): [string, number][] {
  return Object.entries(record).sort(([, a], [, b]) => b - a);
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0);
}
