import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { commandLineOf, isRunning, type ProcessIdentity } from '../../cli/process-identity';
import { descendantsOf, survivorsOf } from '../integration/process-tree';
import type { LogEvent } from './job-stack';

const MAIN = join(__dirname, '..', '..', 'dist', 'cli', 'main.js');
/** Workers that lose their parent finish what they are at. */
const ENDING_LIMIT_MS = 40_000;

/** Small and quick, but all of it is real: 4 layers, 4 slices, about 110 steps. */
const DEMO_JOB = [
  ...['quantize', 'demo', '--samples', '8', '--sequence-length', '64', '--slice-tokens', '128'],
  ...['--group-size', '64', '--refinements', '1', '--json'],
];

export interface Program {
  readonly pid: number;
  readonly ended: Promise<Ending>;
}

export interface Ending {
  readonly code: number | null;
  readonly document: Record<string, unknown> | null;
  readonly stderr: string;
}

/** What can be killed: one worker, all of them, the Temporal server, or the whole tree of processes. */
export type Target = 'gpu' | 'cpu' | 'control' | 'all workers' | 'server' | 'everything';

export interface ProgramJobOptions {
  /** Directory of the artifact store, or `s3://…`. Default: inside the home. */
  readonly store?: string;
  /** Besides what every job gets: what its store needs. */
  readonly environment?: Readonly<Record<string, string>>;
  /** CPU and GPU worker processes each. Default: 1. */
  readonly workers?: number;
}

/** A job run by the real program, with a home of its own: started, killed, and started again. */
export class ProgramJob {
  private readonly directory = mkdtempSync(join(tmpdir(), 'quantloom-chaos-'));
  readonly home = join(this.directory, 'home');
  readonly output = join(this.directory, 'out');
  /** Processes per queue. */
  readonly workers: number;
  private readonly store: string;
  private readonly environment: Readonly<Record<string, string>>;
  private readonly programs: ChildProcess[] = [];
  private readonly seen = new Map<string, ProcessIdentity>();

  constructor({ store, environment = {}, workers = 1 }: ProgramJobOptions = {}) {
    this.environment = environment;
    this.store = store ?? join(this.home, 'store');
    this.workers = workers;
    mkdirSync(this.home);
    const settings = { cpuWorkers: workers, gpuWorkers: workers };
    writeFileSync(join(this.directory, 'quantloom.config.json'), JSON.stringify(settings));
  }

  /** Runs the job's command: always the same one. */
  start(): Program {
    const inherited = Object.entries(process.env).filter(
      ([name]) => !/^(TEMPORAL_|QUANTLOOM_(?!TEMPORAL_CLI))/.test(name),
    );
    const child = spawn(process.execPath, [MAIN, ...DEMO_JOB, '--out', this.output], {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: this.directory,
      env: {
        ...Object.fromEntries(inherited),
        QUANTLOOM_HOME: this.home,
        QUANTLOOM_STORE: this.store,
        QUANTLOOM_THREADS: '1',
        ...this.environment,
      },
    });
    this.programs.push(child);
    const text = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (chunk: string) => {
        text[stream] += chunk;
      });
    }
    const ended = new Promise<Ending>((resolve) => {
      child.once('close', (code) => resolve({ code, document: jsonOrNull(text.stdout), stderr: text.stderr }));
    });
    return { pid: child.pid as number, ended };
  }

  /** Waits until so many steps have been computed, or the program has ended. */
  async untilComputed(steps: number, program: Program): Promise<void> {
    let over = false;
    void program.ended.then(() => {
      over = true;
    });
    while (!over && this.computed < steps) await delay(50);
  }

  /** Everything below the program, also in process groups of its own. */
  processes(program: Program, target: Target = 'everything'): ProcessIdentity[] {
    const processes = descendantsOf(program.pid);
    for (const one of processes) this.seen.set(`${one.pid}/${one.started}`, one);
    return processes.filter(({ pid }) => isTarget(target, commandLineOf(pid)));
  }

  /** Sends SIGKILL. @returns how many processes it reached. */
  kill(target: Target, program: Program): number {
    const below = this.processes(program, target).map(({ pid }) => pid);
    if (target === 'everything') return [program.pid, ...below].filter(killed).length;
    return (target === 'all workers' ? below : below.slice(0, 1)).filter(killed).length;
  }

  /** What all workers of the job have logged so far; a line cut short by a kill is left out. */
  log(): LogEvent[] {
    const directory = join(this.home, 'logs');
    const names = namesIn(directory).filter((name) => name.startsWith('worker-'));
    return names.flatMap((name) =>
      readFileSync(join(directory, name), 'utf8')
        .split('\n')
        .flatMap((line) => (jsonOrNull(line) as LogEvent | null) ?? []),
    );
  }

  /** Steps computed so far. */
  get computed(): number {
    return this.log().filter(({ event }) => event === 'computed').length;
  }

  /** Processes of the job that still run a while after their program has ended. */
  leftovers(limitMs = ENDING_LIMIT_MS): Promise<ProcessIdentity[]> {
    return survivorsOf([...this.seen.values()], limitMs);
  }

  /** Leaves no process and no file, however the test went. */
  async remove(): Promise<void> {
    for (const { pid, exitCode, signalCode } of this.programs) {
      if (exitCode !== null || signalCode !== null) continue;
      this.kill('everything', { pid: pid as number, ended: new Promise(() => {}) });
    }
    for (const { pid } of [...this.seen.values()].filter(isRunning)) killed(pid);
    await this.leftovers();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

function isTarget(target: Target, commandLine: string): boolean {
  if (target === 'everything') return true;
  if (target === 'server') return commandLine.includes('start-dev') && !commandLine.includes('server-guard');
  return commandLine.includes(target === 'all workers' ? '--queue ' : `--queue ${target}`);
}

function killed(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
    return false;
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function jsonOrNull(text: string): Record<string, unknown> | null {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return null;
  }
}
