import { readFileSync } from 'node:fs';

/** What Linux tells of a process in /proc. */
export interface ProcessStat {
  readonly parent: number;
  /** When it started, in clock ticks since boot: tells apart two processes that had the same id. */
  readonly started: number;
  /** User and system time of its threads. */
  readonly cpuSeconds: number;
  /** The same, of descendants that ended and were waited for. */
  readonly waitedCpuSeconds: number;
}

export interface ProcessMemory {
  /** Largest resident size so far (VmHWM). */
  readonly peakBytes: number;
  /** Resident size now (VmRSS), pages shared with other processes included. */
  readonly residentBytes: number;
}

/** USER_HZ: 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Null when the process is gone, or where there is no /proc. See proc_pid_stat(5). */
export function readProcessStat(pid: number | 'self'): ProcessStat | null {
  const content = readProc(pid, 'stat');
  if (content === null) return null;
  // The name, in parentheses, may hold spaces; the fields after it count from 3.
  const fields = content.slice(content.lastIndexOf(')') + 2).split(' ');
  const field = (number: number) => Number(fields[number - 3]);
  return {
    parent: field(4),
    started: field(22),
    cpuSeconds: (field(14) + field(15)) / TICKS_PER_SECOND,
    waitedCpuSeconds: (field(16) + field(17)) / TICKS_PER_SECOND,
  };
}

/** Null when the process is gone or has ended. */
export function readProcessMemory(pid: number): ProcessMemory | null {
  const content = readProc(pid, 'status');
  const bytes = (name: string) => {
    const kibibytes = content?.match(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm'))?.[1];
    return kibibytes === undefined ? null : Number(kibibytes) * 1024;
  };
  const [peakBytes, residentBytes] = [bytes('VmHWM'), bytes('VmRSS')];
  return peakBytes === null || residentBytes === null ? null : { peakBytes, residentBytes };
}

/** Words of the command line, separated by blanks; empty when the process is gone. */
export function readCommandLine(pid: number): string {
  return (readProc(pid, 'cmdline') ?? '').replaceAll('\0', ' ').trim();
}

function readProc(pid: number | 'self', file: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return null;
  }
}
