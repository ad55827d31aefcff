import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SEARCH_ATTRIBUTES } from '../engine/spec';
import { DIST_DIRECTORY } from './dist-directory';
import { commandLineOf, isRunning, type ProcessIdentity } from './process-identity';
import { STACK_HOST, type StackPorts } from './stack-addresses';
import { logPath } from './stack-log';
import { isServing } from './temporal-client';

const READY_LIMIT_MS = 90_000;
const READY_POLL_MS = 60;
const KILL_AFTER_MS = 5_000;

/** The database of the embedded server, and the file that holds its pid while it runs. */
export function serverFiles(home: string): { database: string; pidFile: string } {
  return { database: join(home, 'temporal.db'), pidFile: join(home, 'server.json') };
}

/** Starts the dev server under its guard, which ends with this process. */
export function launchServer(options: { home: string; binary: string; ports: StackPorts }): ChildProcess {
  const { home, binary, ports } = options;
  const { database, pidFile } = serverFiles(home);
  const guard = join(DIST_DIRECTORY, 'cli', 'server-guard.js');
  const args = [
    ...['server', 'start-dev', '--db-filename', database, '--ip', STACK_HOST],
    ...['--port', String(ports.port), '--ui-port', String(ports.uiPort), '--ui-disable-news-fetch'],
    ...['--log-level', 'warn', '--log-format', 'json'],
    // One write per transaction instead of three with an fsync each. A power cut may cost the last moments of the server's memory; the
    // steps done in them are found in the store.
    ...['--sqlite-pragma', 'journal_mode=wal', '--sqlite-pragma', 'synchronous=normal'],
    ...Object.entries(SEARCH_ATTRIBUTES).flatMap(([name, type]) => ['--search-attribute', `${name}=${type}`]),
  ];
  return spawn(process.execPath, [guard, pidFile, logPath(home, 'temporal'), binary, ...args], {
    stdio: ['pipe', 'ignore', 'ignore'],
    // Own process group: a Ctrl-C in the terminal reaches only the parent, which stops things in order.
    detached: true,
    // Its heap is small: collecting it less often halves its share of the processor, for some 50 MB.
    env: { GOGC: '400', ...process.env },
  });
}

/** Waits until the server answers, as long as its guard lives. */
export async function serverReady(ports: StackPorts, guard: ChildProcess): Promise<void> {
  const deadline = Date.now() + READY_LIMIT_MS;
  while (Date.now() < deadline && guard.exitCode === null && guard.signalCode === null) {
    if (await isServing(`${STACK_HOST}:${ports.port}`)) return;
    await delay(READY_POLL_MS);
  }
  guard.kill('SIGTERM');
  throw new Error('the server did not become ready');
}

/** Ends a server that a killed guard left behind. Only a process that is in the pid file and works on our database is touched. */
export async function endLeftoverServer(home: string): Promise<boolean> {
  const { database, pidFile } = serverFiles(home);
  let server: ProcessIdentity;
  try {
    server = JSON.parse(readFileSync(pidFile, 'utf8')) as ProcessIdentity;
  } catch {
    return false;
  }
  const commandLine = commandLineOf(server.pid);
  const ours = isRunning(server) && commandLine.includes('start-dev') && commandLine.includes(database);
  if (ours) {
    process.kill(server.pid, 'SIGTERM');
    for (let waitedMs = 0; isRunning(server); waitedMs += 50) {
      if (waitedMs === KILL_AFTER_MS) process.kill(server.pid, 'SIGKILL');
      await delay(50);
    }
  }
  rmSync(pidFile, { force: true });
  return ours;
}
