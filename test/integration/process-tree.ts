import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { identify, isRunning, type ProcessIdentity } from '../../cli/process-identity';

/** Every process below `pid`, also those in process groups of their own. */
export function descendantsOf(pid: number): ProcessIdentity[] {
  const parents = parentPids();
  const found: number[] = [];
  for (let generation = [pid]; generation.length > 0; ) {
    generation = [...parents].filter(([, parent]) => generation.includes(parent)).map(([child]) => child);
    found.push(...generation);
  }
  return found.map(identify).filter((process) => process !== null);
}

/** Waits until none of the processes is running. @returns those that still are after the limit. */
export async function survivorsOf(processes: readonly ProcessIdentity[], limitMs: number): Promise<ProcessIdentity[]> {
  for (const deadline = Date.now() + limitMs; Date.now() < deadline; ) {
    if (!processes.some(isRunning)) return [];
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return processes.filter(isRunning);
}

function parentPids(): Map<number, number> {
  if (!existsSync('/proc/self/stat')) {
    const lines = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }).trim().split('\n');
    return new Map(lines.map((line) => line.trim().split(/\s+/).map(Number) as [number, number]));
  }
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
    } catch {
      // It has ended meanwhile.
    }
  }
  return parents;
}
