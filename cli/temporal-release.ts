import { execFile } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';

export const TEMPORAL_CLI_VERSION = '1.9.1';
const INFO_TIMEOUT_MS = 5_000;
const DOWNLOAD_TIMEOUT_MS = 180_000;

/** Fetches the release from Temporal's own download service, the one that Temporal's SDKs use, over TLS. @returns the binary's path. */
export async function downloadOfficialRelease(directory: string): Promise<string> {
  const arch = process.arch === 'x64' ? 'amd64' : process.arch;
  const query = new URLSearchParams({ platform: process.platform, arch, format: 'tar.gz' });
  const info = await fetch(`https://temporal.download/cli/v${TEMPORAL_CLI_VERSION}?${query}`, {
    signal: AbortSignal.timeout(INFO_TIMEOUT_MS),
  });
  if (!info.ok) throw new Error(`HTTP ${info.status}`);
  const { archiveUrl, fileToExtract } = (await info.json()) as { archiveUrl: string; fileToExtract: string };
  const archive = await fetch(archiveUrl, { signal: AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS) });
  if (!archive.ok || !archive.body) throw new Error(`HTTP ${archive.status}`);
  const file = join(directory, 'temporal.tar.gz');
  await pipeline(Readable.fromWeb(archive.body as Parameters<typeof Readable.fromWeb>[0]), createWriteStream(file));
  await promisify(execFile)('tar', ['-xzf', file, '-C', directory, fileToExtract]);
  return join(directory, fileToExtract);
}
