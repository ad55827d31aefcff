import { mkdirSync, openSync, readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';

const ROTATE_BYTES = 16 * 1024 * 1024;

/** Path of a log under `home`; a big one is set aside first. */
export function logPath(home: string, name: string): string {
  const directory = join(home, 'logs');
  mkdirSync(directory, { recursive: true });
  const path = join(directory, `${name}.log`);
  try {
    if (statSync(path).size > ROTATE_BYTES) renameSync(path, `${path}.1`);
  } catch {}
  return path;
}

/** Opens a log for appending. @returns the file descriptor. */
export function openLog(home: string, name: string): number {
  return openSync(logPath(home, name), 'a');
}

/** What a log says last, for an error message: its last line about an error, else its last line. */
export function lastComplaint(home: string, name: string): string {
  try {
    const lines = readFileSync(logPath(home, name), 'utf8').trimEnd().split('\n').slice(-50);
    return (lines.findLast((line) => /error/i.test(line)) ?? lines.at(-1) ?? '').trim().slice(0, 400);
  } catch {
    return '';
  }
}
