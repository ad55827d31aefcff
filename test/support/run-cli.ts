import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';

const MAIN = join(__dirname, '..', '..', 'dist', 'cli', 'main.js');

export interface CliRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliPlace {
  readonly home: string;
  readonly workingDirectory: string;
  readonly environment?: Readonly<Record<string, string>>;
}

/** Runs the compiled program as a user does, without the Temporal settings of whoever runs the tests. */
export async function runCli(args: readonly string[], place: CliPlace): Promise<CliRun> {
  const child = startCli(args, place);
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code: code as number | null, stdout, stderr };
}

/** `quantloom up` on a home of its own; settles when its server and workers are ready. */
export async function startUp(home: string): Promise<{ stop(): Promise<void> }> {
  const child = startCli(['up', '--threads', '1', '--json'], { home, workingDirectory: tmpdir() });
  child.stderr.resume();
  await Promise.race([
    once(child.stdout, 'data'),
    once(child, 'exit').then(([code]) => {
      throw new Error(`quantloom up ended with exit code ${code}`);
    }),
  ]);
  return {
    async stop() {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** The same, for whoever wants to end it. */
export function startCli(args: readonly string[], place: CliPlace): ChildProcessByStdio<null, Readable, Readable> {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(TEMPORAL_|QUANTLOOM_(?!TEMPORAL_CLI))/.test(name),
  );
  return spawn(process.execPath, [MAIN, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: place.workingDirectory,
    env: { ...Object.fromEntries(inherited), QUANTLOOM_HOME: place.home, ...place.environment },
  });
}
