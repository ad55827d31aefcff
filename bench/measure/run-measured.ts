import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { readProcessStat } from './process-stat';
import { ProcessTree } from './process-tree';

export interface MeasuredCommand {
  readonly command: string;
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly workingDirectory: string;
  /** Files for its standard output and error. */
  readonly stdout: string;
  readonly stderr: string;
}

export interface Usage {
  /** From start to end of the command, on the wall. */
  readonly wallSeconds: number;
  /** When it was started, in milliseconds since 1970. */
  readonly startedAt: number;
  /** User and system time of the command and everything below it. Null where there is no /proc, as the memory is. */
  readonly cpuSeconds: number | null;
  /** Peak resident size of the process that had the largest. */
  readonly busiestPeakBytes: number | null;
  /** Largest sum of resident sizes over all processes at one moment; shared pages count once per process. */
  readonly treePeakBytes: number | null;
  readonly processes: readonly {
    readonly commandLine: string;
    readonly cpuSeconds: number;
    readonly peakBytes: number;
  }[];
}

/** Thrown when this process was told to end. */
export class Interrupted extends Error {
  constructor() {
    super('interrupted');
  }
}

const LOOK_EVERY_MS = 100;
const PATIENCE_MS = 10_000;

let ending = false;
/** What is running now; it is ended when this process is told to end. */
const underWay = new Set<{ child: ChildProcess; tree: ProcessTree }>();

/**
 * Runs a command to its end and measures it with all its descendants.
 *
 * @throws Error with the end of its error output when it does not end with exit code 0, Interrupted after endEverything.
 */
export async function runMeasured(options: MeasuredCommand): Promise<Usage> {
  if (ending) throw new Interrupted();
  const { command, args, environment, workingDirectory, stdout, stderr } = options;
  const files = [openSync(stdout, 'w'), openSync(stderr, 'w')] as const;
  const waitedBefore = readProcessStat('self')?.waitedCpuSeconds ?? null;
  const startedAt = Date.now();
  const began = performance.now();
  const child = spawn(command, args, {
    cwd: workingDirectory,
    env: environment,
    stdio: ['ignore', ...files],
    // A group of its own: an interrupt at the terminal comes from here alone, once.
    detached: true,
  });
  for (const file of files) closeSync(file);
  const tree = new ProcessTree(child.pid ?? -1);
  const run = { child, tree };
  underWay.add(run);
  const looking = setInterval(() => tree.look(), LOOK_EVERY_MS);
  try {
    const how = await endOf(child);
    const wallSeconds = (performance.now() - began) / 1000;
    if (ending) throw new Interrupted();
    if (how !== 0) throw new Error(`${command} ended with ${how}: ${lastLines(stderr)}`);
    tree.look();
    const known = waitedBefore !== null;
    const waited = (readProcessStat('self')?.waitedCpuSeconds ?? 0) - (waitedBefore ?? 0);
    const { processes } = tree;
    const looked = processes.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0);
    return {
      wallSeconds,
      startedAt,
      // What was waited for is exact, but lacks processes that were not; what was looked at lacks their last moments.
      cpuSeconds: known ? Math.max(waited, looked) : null,
      busiestPeakBytes: known ? Math.max(0, ...processes.map(({ peakBytes }) => peakBytes)) : null,
      treePeakBytes: known ? tree.peakBytes : null,
      processes: processes.map(({ commandLine, cpuSeconds, peakBytes }) => ({ commandLine, cpuSeconds, peakBytes })),
    };
  } finally {
    clearInterval(looking);
    await endTree(run);
    underWay.delete(run);
  }
}

/** Ends everything that is under way, with all descendants: first politely, then not. Nothing can be run afterwards. */
export async function endEverything(): Promise<void> {
  ending = true;
  await Promise.all([...underWay].map(endTree));
}

async function endTree({ child, tree }: { child: ChildProcess; tree: ProcessTree }): Promise<void> {
  tree.look();
  const running = () => child.exitCode === null && child.signalCode === null && child.pid !== undefined;
  const gone = () => !running() && tree.alive.length === 0;
  const patience = async () => {
    for (const deadline = Date.now() + PATIENCE_MS; !gone() && Date.now() < deadline; ) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
      tree.look();
    }
  };
  if (gone()) return;
  if (running()) child.kill('SIGTERM');
  await patience();
  if (running()) child.kill('SIGKILL');
  for (const { pid } of tree.alive) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has just ended.
    }
  }
  await patience();
}

function endOf(child: ChildProcess): Promise<number | string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(code ?? (signal as string)));
  });
}

function lastLines(file: string): string {
  return `see ${file}, which ends with:\n${readFileSync(file, 'utf8').trim().split('\n').slice(-12).join('\n')}`;
}
