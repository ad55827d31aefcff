import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { QuantloomError } from '../../spec';
import { asStoreFull } from '../../store';
import { contentDigest } from './content-digest';
import type { RemoteFile } from './model-source';

export interface DownloadOptions {
  readonly signal?: AbortSignal;
  /** Bytes of the file that are on disk. */
  readonly onBytes?: (bytes: number) => void;
  /** Before the second attempt in a row that brought nothing; doubled for every further one. Default 500. */
  readonly backoffMilliseconds?: number;
}

/** Attempts in a row that bring no byte, before the download is given up. */
const FRUITLESS_ATTEMPTS = 6;
/** Times that a file whose content is not what it has to be is fetched anew. */
const SECOND_TRIES = 1;

/**
 * Fetches a file to `path`. What arrived of it before, in this process or in one that was killed, lies at `path.part` and is not fetched
 * again; the file has its name only when all of it is there, with the digest that it has to have, and on disk.
 *
 * @throws QuantloomError InvalidModel for a wrong content, StoreFull; what the source throws when it is for good, or again and again.
 */
export async function downloadFile(file: RemoteFile, path: string, options: DownloadOptions = {}): Promise<void> {
  if ((await stat(path).catch(() => null))?.size === file.bytes) return;
  await mkdir(dirname(path), { recursive: true });
  for (let wrong = 0; ; wrong++) {
    const found = await receive(file, `${path}.part`, options);
    if (found === file.digest?.hex || file.digest === null) break;
    await rm(`${path}.part`, { force: true });
    if (wrong < SECOND_TRIES) continue;
    throw new QuantloomError(
      'InvalidModel',
      `${file.path} arrived with ${file.digest.algorithm} ${found} where ${file.digest.hex} is expected, twice. ` +
        'What stands between here and there changes files, or the file is damaged where it comes from.',
      { details: { file: file.path, expected: file.digest.hex, found } },
    );
  }
  await rename(`${path}.part`, path);
}

/** @returns the digest of the content, which lies whole at `part`; null where there is none to compare with. */
async function receive(file: RemoteFile, part: string, options: DownloadOptions): Promise<string | null> {
  const { signal, onBytes, backoffMilliseconds = 500 } = options;
  const digest = contentDigest(file);
  const handle = await open(part, 'a+');
  try {
    let done = (await handle.stat()).size;
    if (done > file.bytes) {
      await handle.truncate(0);
      done = 0;
    }
    if (done > 0) for await (const chunk of createReadStream(part, { end: done - 1 })) digest?.update(chunk);
    for (let fruitless = 0; done < file.bytes; ) {
      signal?.throwIfAborted();
      const before = done;
      let failure: unknown = null;
      try {
        for await (const chunk of await file.read({ begin: done }, signal)) {
          await handle.appendFile(chunk).catch(async (error) => {
            throw await asStoreFull(error, dirname(part), file.bytes - done);
          });
          digest?.update(chunk);
          done += chunk.byteLength;
          onBytes?.(done);
        }
      } catch (error) {
        signal?.throwIfAborted();
        failure = error;
      }
      if (done >= file.bytes) break;
      if (failure !== null && !mayPass(failure)) throw failure;
      fruitless = done > before ? 0 : fruitless + 1;
      if (fruitless === FRUITLESS_ATTEMPTS) throw failure ?? brokenOff(file, done);
      if (fruitless > 0) await sleep(backoffMilliseconds * 2 ** (fruitless - 1), undefined, { signal });
    }
    await handle.sync();
    onBytes?.(done);
    return digest?.digest('hex') ?? null;
  } finally {
    await handle.close();
  }
}

function mayPass(error: unknown): boolean {
  return QuantloomError.is(error) && error.retryable && error.code !== 'StoreFull';
}

function brokenOff({ path, bytes }: RemoteFile, done: number): QuantloomError {
  return new QuantloomError(
    'SourceUnavailable',
    `${path} breaks off after ${done} of ${bytes} bytes, again and again.`,
    {
      retryable: true,
    },
  );
}
