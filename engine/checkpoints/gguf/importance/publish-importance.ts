import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { QuantloomError } from '../../../spec';
import type { OutputFile } from '../../output-file';
import type { ImportanceFile } from './importance-file';
import { readImportance } from './read-importance';
import { writeImportance } from './write-importance';

/**
 * Writes an importance matrix beside its place, reads it back, and makes it appear with one rename. One that stands there already with the same bytes is
 * left as it is.
 *
 * @param options.staging on the same disk as `path`; what stands there is removed.
 * @throws QuantloomError OutputExists when something else stands there and `overwrite` is false, OutputUnwritable, VerificationFailed.
 */
export async function publishImportance(
  path: string,
  content: ImportanceFile,
  { staging, overwrite }: { readonly staging: string; readonly overwrite: boolean },
): Promise<OutputFile> {
  await rm(staging, { recursive: true, force: true });
  try {
    const file = await writeImportance(staging, content);
    const { entries, sha256 } = await readImportance(staging);
    if (sha256 !== file.sha256 || entries.size !== content.entries.size) {
      throw new QuantloomError('VerificationFailed', `${staging} is not what was written to it. Check the disk.`);
    }
    const present = await stat(path).catch(() => null);
    const same = present?.isFile() && (await readImportance(path).catch(() => null))?.sha256 === sha256;
    if (same) return file;
    if (present && (!overwrite || !present.isFile())) {
      throw new QuantloomError(
        'OutputExists',
        `${path} exists. Name another output, or replace a file with overwrite.`,
      );
    }
    await rename(staging, path).catch((cause: unknown) => {
      throw new QuantloomError('OutputUnwritable', `${staging} cannot be moved to ${path}: ${String(cause)}`, {
        cause,
      });
    });
    const directory = await open(dirname(path), 'r');
    await directory.sync().finally(() => directory.close());
    return file;
  } finally {
    await rm(staging, { force: true });
  }
}
