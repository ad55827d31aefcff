import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../../workers/metrics/free-port';
import { FIRST_BUILD_MS, findGoProgram } from './go-program';

/** Compiling it takes minutes on a slow machine; once, then it is kept. */
export const FIRST_START_MS = FIRST_BUILD_MS;

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

export function findVersitygw(): Promise<string> {
  return findGoProgram({
    name: 'versitygw',
    pinnedIn: 'versitygw',
    module: 'github.com/versity/versitygw',
    package: 'github.com/versity/versitygw/cmd/versitygw',
    variable: 'QUANTLOOM_VERSITYGW',
  });
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
