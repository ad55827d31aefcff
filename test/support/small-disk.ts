import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A place for a store that can be made to run out of room, and to have room again. */
export interface SmallDisk {
  readonly directory: string;
  /** Leaves hardly any room for the workers with these pids. */
  fill(workers: readonly number[]): void;
  makeRoom(): void;
  remove(): void;
}

/**
 * A file system in memory, where mounting is permitted. Elsewhere a limit on the size of the workers' files, which the system reports
 * in another way (EFBIG) but at the same places. Null where the system offers neither.
 */
export function smallDisk(): SmallDisk | null {
  const directory = mkdtempSync(join(tmpdir(), 'quantloom-disk-'));
  const store = join(directory, 'store');
  try {
    run('mount', '-t', 'tmpfs', '-o', `size=${ROOMY_BYTES}`, 'quantloom-test', directory);
  } catch {
    if (!hasPrlimit()) {
      rmSync(directory, { recursive: true });
      return null;
    }
    return {
      directory: store,
      fill: (workers) => workers.forEach((pid) => void run('prlimit', '--pid', `${pid}`, `--fsize=${LARGEST_BYTES}:`)),
      makeRoom: () => {},
      remove: () => rmSync(directory, { recursive: true, force: true }),
    };
  }
  return {
    directory: store,
    fill: () => shrinkToFit(directory),
    makeRoom: () => run('mount', '-o', `remount,size=${ROOMY_BYTES}`, directory),
    remove: () => {
      run('umount', directory);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

const ROOMY_BYTES = 512 * 1024 * 1024;
const LARGEST_BYTES = 64 * 1024;
const SHRINKING_ATTEMPTS = 100;

/** The kernel refuses a size below what is in use, and workers write between looking and shrinking. */
function shrinkToFit(directory: string): void {
  for (let attempt = 1; ; attempt++) {
    try {
      run('mount', '-o', `remount,size=${usedBytes(directory) + LARGEST_BYTES}`, directory);
      return;
    } catch (error) {
      if (attempt === SHRINKING_ATTEMPTS) throw error;
    }
  }
}

function hasPrlimit(): boolean {
  try {
    run('prlimit', '--version');
    return true;
  } catch {
    return false;
  }
}

function usedBytes(directory: string): number {
  const { blocks, bfree, bsize } = statfsSync(directory);
  return (blocks - bfree) * bsize;
}

function run(command: string, ...args: readonly string[]): void {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
