import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaultHome } from '../cli/settings';
import { findTemporalBinary } from '../cli/temporal-binary';
import { packageRoot } from '../engine/sources';
import type { MeasuredCommand } from './measure/run-measured';

const MAIN = join(packageRoot(), 'dist', 'cli', 'main.js');

/**
 * The command line program as a user runs it, with state, store and server of its own: nothing is found from an earlier run.
 *
 * @param scratch an empty directory for all of that.
 */
export function quantloomCommand(
  args: readonly string[],
  scratch: string,
  environment: Readonly<Record<string, string>> = {},
): Omit<MeasuredCommand, 'stdout' | 'stderr'> {
  return {
    command: process.execPath,
    args: [MAIN, ...args],
    environment: { ...environmentOfStrangers(), QUANTLOOM_HOME: join(scratch, 'home'), ...environment },
    workingDirectory: scratch,
  };
}

/** Of this program, e.g. `0.1.0`. */
export function quantloomVersion(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string };
  return version;
}

/** Logs of the workers of such a run. */
export function logsIn(scratch: string): string {
  return join(scratch, 'home', 'logs');
}

/** Finds the Temporal CLI, or fetches it once, before anything is measured. */
export async function provideTemporal(): Promise<void> {
  const home = process.env.QUANTLOOM_HOME || defaultHome();
  const note = (line: string) => process.stderr.write(`${line}\n`);
  process.env.QUANTLOOM_TEMPORAL_CLI = await findTemporalBinary({ home, environment: process.env, note });
}

/** Without the settings of whoever runs the benchmark. */
function environmentOfStrangers(): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(TEMPORAL_|QUANTLOOM_(?!TEMPORAL_CLI|KERNELS))/.test(name)),
  );
}
