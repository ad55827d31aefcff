import { readdirSync } from 'node:fs';
import { readCommandLine, readProcessMemory, readProcessStat } from './process-stat';

/** One process that was seen below the root. */
export interface SeenProcess {
  readonly pid: number;
  readonly started: number;
  commandLine: string;
  cpuSeconds: number;
  peakBytes: number;
  ended: boolean;
}

/** A command line may change once: from the parent's to that of the program that the process becomes. */
const LOOKS_AT_COMMAND_LINE = 5;

/**
 * A process and everything that it starts, however it is grouped: who its parent was when it was first seen decides. Linux only;
 * elsewhere nothing is seen. Costs a few reads of /proc per look.
 */
export class ProcessTree {
  private readonly seen = new Map<number, SeenProcess & { looks: number }>();
  /** Ended, and their numbers were given to others of the tree. */
  private readonly replaced: SeenProcess[] = [];
  private readonly strangers = new Set<number>();
  private peak = 0;

  constructor(private readonly root: number) {}

  /** Looks at every process of the tree that runs now. */
  look(): void {
    const running = new Set(pids());
    for (const pid of this.strangers) if (!running.has(pid)) this.strangers.delete(pid);
    // A parent has the lower number, unless numbers have just wrapped: then it is found one look later.
    for (const pid of running) if (!this.strangers.has(pid) && !this.isOurs(pid)) this.meet(pid);
    let resident = 0;
    for (const process of this.seen.values()) resident += this.update(process, running);
    this.peak = Math.max(this.peak, resident);
  }

  /** Every process that was seen. */
  get processes(): readonly SeenProcess[] {
    return [...this.replaced, ...this.seen.values()];
  }

  /** Those that were running at the last look and still are. */
  get alive(): readonly SeenProcess[] {
    return this.processes.filter(({ pid, started, ended }) => !ended && readProcessStat(pid)?.started === started);
  }

  /** Largest sum of resident sizes at one look; a page that several processes share counts for each of them. */
  get peakBytes(): number {
    return this.peak;
  }

  private isOurs(pid: number): boolean {
    return this.seen.get(pid)?.ended === false;
  }

  private meet(pid: number): void {
    const stat = readProcessStat(pid);
    if (stat === null) return;
    if (pid !== this.root && !this.seen.has(stat.parent)) {
      this.strangers.add(pid);
      return;
    }
    const { started } = stat;
    const before = this.seen.get(pid);
    // It has ended, but nobody has waited for it yet.
    if (before?.started === started) return;
    if (before) this.replaced.push(before);
    this.seen.set(pid, { pid, started, commandLine: '', cpuSeconds: 0, peakBytes: 0, ended: false, looks: 0 });
  }

  private update(process: SeenProcess & { looks: number }, running: ReadonlySet<number>): number {
    if (process.ended) return 0;
    const stat = running.has(process.pid) ? readProcessStat(process.pid) : null;
    const memory = stat?.started === process.started ? readProcessMemory(process.pid) : null;
    if (stat) process.cpuSeconds = Math.max(process.cpuSeconds, stat.cpuSeconds);
    if (memory === null) {
      process.ended = true;
      return 0;
    }
    if (process.looks++ < LOOKS_AT_COMMAND_LINE) {
      process.commandLine = readCommandLine(process.pid) || process.commandLine;
    }
    process.peakBytes = Math.max(process.peakBytes, memory.peakBytes);
    return memory.residentBytes;
  }
}

function pids(): number[] {
  try {
    return readdirSync('/proc').map(Number).filter(Number.isInteger);
  } catch {
    return [];
  }
}
