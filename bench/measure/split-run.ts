import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Usage } from './run-measured';

/** Where the time of one run of Quantloom went. */
export interface RunSplit {
  /** Parts of the wall time, in seconds; they add up to it. At moments when several parts are under way, they share. */
  readonly wallSeconds: Readonly<Record<string, number>>;
  /** CPU time by kind of process. */
  readonly cpuSeconds: Readonly<Record<string, number>>;
  readonly peakBytes: Readonly<Record<string, number>>;
  /** How often each step was computed, and its seconds summed over all workers. */
  readonly steps: Readonly<Record<string, Readonly<StepSum>>>;
}

/** Parts of the wall time in which no worker computes. */
export const STARTING = 'server and workers start';
export const WAITING = 'between activities';
/** An activity looks its step up, or records it. */
export const RECORDS = 'keys and records';
export const ENDING = 'server and workers end';

interface Span {
  readonly part: string;
  readonly from: number;
  readonly to: number;
  /** A step is nested in its activity, and explains it better. */
  readonly rank: number;
}

interface LogEvent {
  readonly time: string;
  readonly event: string;
  readonly step?: string;
  readonly activity?: string;
  readonly seconds?: number;
  /** Of the seconds of a step: those that parts of it took. */
  readonly parts?: Readonly<Record<string, number>>;
}

interface StepSum {
  count: number;
  seconds: number;
  parts: Record<string, number>;
}

/** Reads the logs of a run's workers. @param usage what the run took. */
export function splitRun(logs: string, usage: Usage): RunSplit {
  const events = readEvents(logs);
  const steps: Record<string, StepSum> = {};
  for (const { event, step, seconds = 0, parts = {} } of events) {
    if (event !== 'computed' || step === undefined) continue;
    const sum = steps[step] ?? { count: 0, seconds: 0, parts: {} };
    steps[step] = sum;
    sum.count++;
    sum.seconds += seconds;
    for (const [part, own] of Object.entries(parts)) sum.parts[part] = (sum.parts[part] ?? 0) + own;
  }
  const end = usage.startedAt + usage.wallSeconds * 1000;
  return {
    wallSeconds: dividedByParts(
      partsOf(
        events.flatMap((event) => spanOf(event, steps)),
        usage.startedAt,
        end,
      ),
      steps,
    ),
    cpuSeconds: byRole(usage, ({ cpuSeconds }, before) => before + cpuSeconds),
    peakBytes: byRole(usage, ({ peakBytes }, before) => Math.max(before, peakBytes)),
    steps,
  };
}

function spanOf({ event, time, step, activity, seconds }: LogEvent, steps: Readonly<Record<string, unknown>>): Span[] {
  if (seconds === undefined) return [];
  const to = Date.parse(time);
  const span = { from: to - seconds * 1000, to };
  if (event === 'computed' && step !== undefined) return [{ ...span, part: step, rank: 1 }];
  if (event !== 'activity' || activity === undefined) return [];
  const name = activity.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return [{ ...span, part: name in steps ? RECORDS : name, rank: 0 }];
}

/** Sweeps over the moments at which something begins or ends. Exported for its test. */
export function partsOf(spans: readonly Span[], from: number, to: number): Record<string, number> {
  const parts: Record<string, number> = {};
  const add = (part: string, milliseconds: number) => {
    if (milliseconds > 0) parts[part] = (parts[part] ?? 0) + milliseconds / 1000;
  };
  const within = (moment: number) => Math.min(Math.max(moment, from), to);
  const edges = [...new Set(spans.flatMap((span) => [within(span.from), within(span.to)]))].sort((a, b) => a - b);
  if (edges.length === 0) return { [STARTING]: (to - from) / 1000 };
  const [first, last] = [edges[0] as number, edges.at(-1) as number];
  add(STARTING, first - from);
  const opening = [...spans].sort((a, b) => a.from - b.from);
  let open: Span[] = [];
  let next = 0;
  for (const [i, edge] of edges.slice(0, -1).entries()) {
    const until = edges[i + 1] as number;
    while (next < opening.length && (opening[next] as Span).from <= edge) open.push(opening[next++] as Span);
    open = open.filter((span) => span.to > edge);
    const highest = Math.max(...open.map(({ rank }) => rank));
    const shown = open.filter(({ rank }) => rank === highest);
    if (shown.length === 0) add(WAITING, until - edge);
    for (const { part } of shown) add(part, (until - edge) / shown.length);
  }
  add(ENDING, to - last);
  return parts;
}

/** Divides a step's share of the wall time as its own seconds divide: `step: part`, and `step` for what is left. */
function dividedByParts(
  wallSeconds: Readonly<Record<string, number>>,
  steps: Readonly<Record<string, StepSum>>,
): Record<string, number> {
  const divided: Record<string, number> = {};
  for (const [name, wall] of Object.entries(wallSeconds)) {
    const { seconds = 0, parts = {} } = steps[name] ?? {};
    let rest = wall;
    // Parts that overlapped each other may come to more than the whole.
    const whole = Math.max(
      seconds,
      Object.values(parts).reduce((sum, part) => sum + part, 0),
    );
    for (const [part, own] of Object.entries(parts)) {
      const share = (wall * own) / whole;
      divided[`${name}: ${part}`] = share;
      rest -= share;
    }
    if (rest > 0) divided[name] = rest;
  }
  return divided;
}

function byRole(
  { processes }: Usage,
  combine: (process: Usage['processes'][number], before: number) => number,
): Record<string, number> {
  const roles: Record<string, number> = {};
  for (const process of processes) {
    const role = roleOf(process.commandLine);
    roles[role] = combine(process, roles[role] ?? 0);
  }
  return roles;
}

function roleOf(commandLine: string): string {
  const queue = /workers\/main\.js --queue (\w+)/.exec(commandLine)?.[1];
  if (queue !== undefined) return `${queue} worker`;
  if (/server-guard\.js/.test(commandLine)) return 'server guard';
  if (/ server start-dev /.test(commandLine)) return 'Temporal server';
  return /cli\/main\.js/.test(commandLine) ? 'command line' : 'other';
}

function readEvents(logs: string): LogEvent[] {
  return readdirSync(logs)
    .filter((name) => name.startsWith('worker-'))
    .flatMap((name) => readFileSync(join(logs, name), 'utf8').trim().split('\n'))
    .flatMap((line) => {
      try {
        return [JSON.parse(line) as LogEvent];
      } catch {
        return [];
      }
    });
}
