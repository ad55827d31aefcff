import { createHash, randomUUID } from 'node:crypto';
import { readdir, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';

const HOUR_MILLISECONDS = 3_600_000;
/** A process number may belong to somebody else by now: after this long it no longer protects a file. */
const DAY_MILLISECONDS = 24 * HOUR_MILLISECONDS;

const HOST = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);
const NAME = /^([0-9a-f]{8})-(\d+)-/;

/** A name that no other process uses, and that says which process on which machine does. */
export function temporaryName(): string {
  return `${HOST}-${process.pid}-${randomUUID()}`;
}

/** Removes what processes that died left behind: files older than an hour whose writer is gone. @returns how many. */
export async function sweepTemporaryFiles(directory: string): Promise<number> {
  const now = Date.now();
  let swept = 0;
  for (const name of await readdir(directory)) {
    const file = path.join(directory, name);
    const modified = await stat(file).then(
      (found) => found.mtimeMs,
      () => now,
    );
    if (now - modified < HOUR_MILLISECONDS || (now - modified < DAY_MILLISECONDS && writerLives(name, modified)))
      continue;
    await rm(file, { force: true, recursive: true });
    swept++;
  }
  return swept;
}

function writerLives(name: string, modified: number): boolean {
  const [, host, pid] = NAME.exec(name) ?? [];
  // A writer elsewhere touches its file all the time; an hour of silence says that it is gone.
  if (host !== HOST) return false;
  // In a container every run has the same number.
  if (Number(pid) === process.pid) return modified > Date.now() - process.uptime() * 1000;
  try {
    process.kill(Number(pid), 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
