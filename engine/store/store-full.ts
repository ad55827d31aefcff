import { statfs } from 'node:fs/promises';
import { QuantloomError } from '../spec';

/** No blocks, quota used up, limit on the size of a file reached. */
const NO_ROOM = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

/**
 * Turns the system's "no room" into StoreFull with the place, the bytes needed and the bytes free there. Any other error is
 * returned as it is.
 */
export async function asStoreFull(error: unknown, directory: string, bytesNeeded: number): Promise<unknown> {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  if (code === undefined || !NO_ROOM.has(code)) return error;
  const bytesFree = await freeBytes(directory);
  return new QuantloomError(
    'StoreFull',
    `No room in ${directory}: ${bytesNeeded} bytes needed, ${bytesFree ?? 'unknown'} bytes free (${code}). ` +
      'Free space there, or collect garbage (quantloom gc), or put the store elsewhere (QUANTLOOM_STORE); then run again.',
    { retryable: true, cause: error, details: { directory, bytesNeeded, bytesFree } },
  );
}

/** Bytes that an unprivileged process may still write in the file system of `directory`; null where it cannot be told. */
export async function freeBytes(directory: string): Promise<number | null> {
  try {
    const { bavail, bsize } = await statfs(directory);
    return bavail * bsize;
  } catch {
    return null;
  }
}
