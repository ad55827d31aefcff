import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { identify, isRunning, type ProcessIdentity } from './process-identity';

export interface LockHolder extends ProcessIdentity {
  /** The command that holds the stack: `up` outlives other commands. */
  readonly purpose: string;
}

export interface StackLock {
  release(): void;
}

/** Takes the lock of a stack, also over a holder that is gone. @returns null when a living process holds it. */
export function acquireStackLock(path: string, purpose: string): StackLock | null {
  mkdirSync(dirname(path), { recursive: true });
  const own = { ...(identify(process.pid) as ProcessIdentity), purpose };
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, JSON.stringify(own));
  try {
    for (let attempt = 0; attempt < 10; attempt++) {
      try {
        // A link appears with its content, and fails when the name is taken: nobody ever reads half a lock.
        linkSync(draft, path);
        return { release: () => release(path, own) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      if (readLockHolder(path)) return null;
      removeStale(path);
    }
    return null;
  } finally {
    rmSync(draft, { force: true });
  }
}

/** The living process that holds the lock, or null. */
export function readLockHolder(path: string): LockHolder | null {
  try {
    const holder = JSON.parse(readFileSync(path, 'utf8')) as LockHolder;
    return isRunning(holder) ? holder : null;
  } catch {
    return null;
  }
}

function removeStale(path: string): void {
  const aside = `${path}.stale-${process.pid}`;
  try {
    renameSync(path, aside);
  } catch {
    return;
  }
  // Somebody else may have taken over between the look and the rename: then it was a living lock, and goes back.
  if (readLockHolder(aside)) {
    try {
      linkSync(aside, path);
    } catch {}
  }
  rmSync(aside, { force: true });
}

function release(path: string, own: LockHolder): void {
  const holder = readLockHolder(path);
  if (holder?.pid === own.pid && holder.started === own.started) rmSync(path, { force: true });
}
