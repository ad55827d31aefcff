import { rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { QuantloomError } from '../spec';
import { asStoreFull } from './store-full';
import { synchronize } from './synchronized-write';
import { temporaryName } from './temporary-files';

/**
 * A file that appears at `target` whole and on disk, over what was there, or not at all.
 *
 * @param bytes that it will have, for messages.
 * @param write makes the file that it is given the path of, beside the target.
 * @throws QuantloomError StoreFull, OutputUnwritable.
 */
export async function replaceFile(
  target: string,
  bytes: number,
  write: (temporary: string) => Promise<void>,
): Promise<void> {
  const directory = path.dirname(path.resolve(target));
  const temporary = path.join(directory, `.${temporaryName()}.tmp`);
  try {
    await write(temporary);
    await synchronize(temporary);
    await rename(temporary, target);
    await synchronize(directory);
  } catch (error) {
    await rm(temporary, { force: true }); // before the free bytes are looked at
    throw asUnwritable(await asStoreFull(error, directory, bytes), target);
  }
}

/** What was written is not what was to be written. */
export function wronglyWritten(target: string, expected: string, found: string): QuantloomError {
  return new QuantloomError(
    'OutputUnwritable',
    `What was written to ${target} has SHA-256 ${found} instead of ${expected}. The disk or its file system is not reliable.`,
    { retryable: true, details: { target, expected, found } },
  );
}

function asUnwritable(error: unknown, target: string): unknown {
  if (QuantloomError.is(error)) return error;
  const message = `${target} cannot be written: ${(error as Error).message}. Check that its directory exists and is writable.`;
  return new QuantloomError('OutputUnwritable', message, { cause: error, details: { target } });
}
