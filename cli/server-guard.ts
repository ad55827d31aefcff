/**
 * Runs the Temporal server as its child and ends it when its own standard input ends: that is when the process that started the
 * guard is gone, however it died. The server itself would live on.
 *
 * node server-guard.js PID_FILE LOG_FILE COMMAND ARGUMENT...
 */
import { spawn } from 'node:child_process';
import { openSync, rmSync, writeFileSync } from 'node:fs';
import { identify } from './process-identity';

const KILL_AFTER_MS = 5_000;

const [pidFile, logFile, command, ...args] = process.argv.slice(2) as [string, string, string, ...string[]];
const log = openSync(logFile, 'a');
const server = spawn(command, args, { stdio: ['ignore', log, log] });
if (server.pid !== undefined) writeFileSync(pidFile, JSON.stringify(identify(server.pid)));

let stopping = false;
function stop(): void {
  if (stopping) return;
  stopping = true;
  server.kill('SIGTERM');
  setTimeout(() => server.kill('SIGKILL'), KILL_AFTER_MS).unref();
}

server.once('error', () => process.exit(127));
server.once('exit', (code) => {
  rmSync(pidFile, { force: true });
  process.exit(stopping ? 0 : (code ?? 1));
});
process.stdin.on('end', stop).on('error', stop).resume();
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, stop);
