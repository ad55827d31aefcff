import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { QuantloomError } from '../spec';
import { replaceFile } from '../store/replace-file';

/** The record of a directory of releases. */
export const RELEASES_FILE = 'releases.json';

const Sha256Schema = z.string().regex(/^[0-9a-f]{64}$/);
const ShareSchema = z.number().min(0).nullable();

const ReleaseSchema = z.strictObject({
  /** Of its directory. */
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/),
  /** SHA-256 of all that its bytes follow from: model, recipe, texts. */
  identity: Sha256Schema,
  /** The source that it was made from. */
  revision: z.string(),
  /** Of the weight files of its first format. */
  bytes: z.int().min(0),
  /** null: not measured. */
  perplexity: z
    .strictObject({ value: z.number(), textSha256: Sha256Schema, context: z.int(), scoredTokens: z.int() })
    .nullable(),
});
/** One result. */
export type Release = z.infer<typeof ReleaseSchema>;

const RecordSchema = z.strictObject({
  version: z.literal(1),
  /** What `current` links to. */
  promoted: ReleaseSchema.nullable(),
  /** The last result that was not promoted, and by what: the same would be judged in the same way again. */
  refused: ReleaseSchema.extend({
    reason: z.string(),
    rule: z.strictObject({ maxPerplexityRise: ShareSchema, maxSizeRise: ShareSchema }),
    /** Name of the release that was promoted then. */
    against: z.string(),
  }).nullable(),
});
export type ReleaseRecord = z.infer<typeof RecordSchema>;

/** @throws QuantloomError OutputUnwritable when the record cannot be understood: nothing is promoted over what is not known. */
export async function readReleases(directory: string): Promise<ReleaseRecord> {
  const file = join(directory, RELEASES_FILE);
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return null;
    throw damaged(file, `cannot be read: ${cause.message}`, cause);
  });
  if (text === null) return { version: 1, promoted: null, refused: null };
  try {
    return RecordSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw damaged(file, `is no record of releases: ${(cause as Error).message}`, cause);
  }
}

/** Replaces the record: whole and on disk, or not at all. */
export async function writeReleases(directory: string, record: ReleaseRecord): Promise<void> {
  const text = `${JSON.stringify(record, null, 2)}\n`;
  await replaceFile(join(directory, RELEASES_FILE), Buffer.byteLength(text), (file) => writeFile(file, text));
}

function damaged(file: string, what: string, cause: unknown): QuantloomError {
  return new QuantloomError(
    'OutputUnwritable',
    `${file} ${what}. Put it right, or move it away: the next result is promoted then, whatever it is.`,
    { cause },
  );
}
