import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { QuantloomError } from '../spec';
import { isS3Address, loadS3, parseS3Address, type S3Access, s3Location } from '../store';
import type { S3Bucket } from '../store/s3/s3-bucket';
import { MANIFEST_FILE, type Manifest, parseManifest } from './manifest';
import { describeFile, type OutputFile } from './output-file';

/** What is smaller goes in one request, which the server checks against its SHA-256. */
const SMALL_BYTES = 16 << 20;
/** Metadata that tells our objects, and whose. */
const SHA256 = 'quantloom-sha256';
const JOB = 'quantloom-job';

/** A checkpoint on this machine, complete, and where in the output it goes. */
export interface FinishedCheckpoint {
  readonly directory: string;
  /** Below the output's prefix; empty: right there. */
  readonly place: string;
}

export interface BucketPublication {
  /** `s3://bucket/prefix`. */
  readonly output: string;
  readonly checkpoints: readonly FinishedCheckpoint[];
  /** Id: another attempt of it goes on where this one stops. */
  readonly job: string;
  readonly overwrite: boolean;
  readonly signal?: AbortSignal;
  readonly onFile?: (name: string) => void;
}

export const isBucketOutput = isS3Address;

/** The address of what lies there. */
export function placeInOutput(output: string, place: string): string {
  const { bucket, prefix } = parseS3Address(output);
  return s3Location({ bucket, prefix: [prefix, place].filter(Boolean).join('/') });
}

/** @throws QuantloomError WrongUse for no address of S3. */
function openOutput(output: string, access: S3Access): S3Bucket {
  const { S3Bucket } = loadS3();
  return new S3Bucket(parseS3Address(output), access, 'StoreUnavailable');
}

/**
 * Uploads checkpoints, the manifest of each after all of its files: who finds a manifest finds the files that it lists. What an earlier attempt has
 * uploaded is left as it is; uploads that a killed one has begun are aborted. What is replaced has no manifest until all is there.
 *
 * @throws QuantloomError OutputExists when something else is there and `overwrite` is false; VerificationFailed when a file is not what its manifest says;
 * what S3 answers.
 */
export async function publishToBucket(
  { output, checkpoints, job, overwrite, signal, onFile }: BucketPublication,
  access: S3Access,
): Promise<void> {
  const bucket = openOutput(output, access);
  const plans: { readonly place: string; readonly directory: string; readonly content: Uint8Array; done: boolean }[] =
    [];
  for (const { directory, place } of checkpoints) {
    const content = await readFile(join(directory, MANIFEST_FILE));
    const there = await bucket.get(key(place, MANIFEST_FILE));
    const done = there !== null && Buffer.compare(there.content, content) === 0;
    if (there && !done && !overwrite) throw exists(placeInOutput(output, place));
    plans.push({ directory, place, content, done });
  }
  for (const { directory, place, content, done } of plans) {
    if (done) continue;
    await bucket.remove(key(place, MANIFEST_FILE));
    const { files } = parseManifest(Buffer.from(content).toString());
    const names = new Set(files.map(({ name }) => key(place, name)));
    for await (const upload of bucket.uploads(key(place, ''))) if (names.has(upload.name)) await bucket.abort(upload);
    for (const file of files) {
      signal?.throwIfAborted();
      onFile?.(key(place, file.name));
      await uploadFile(bucket, key(place, file.name), join(directory, file.name), file, { job, overwrite });
    }
    if (overwrite) await removeOthers(bucket, place, names);
  }
  for (const { place, content, done } of plans) {
    if (done || (await bucket.putIfAbsent(key(place, MANIFEST_FILE), content))) continue;
    const there = await bucket.get(key(place, MANIFEST_FILE));
    if (there && Buffer.compare(there.content, content) === 0) continue;
    throw exists(placeInOutput(output, place));
  }
}

/** Removes what a job has uploaded and not published. */
export async function discardFromBucket(output: string, job: string, access: S3Access): Promise<void> {
  const bucket = openOutput(output, access);
  const published: string[] = [];
  const found: string[] = [];
  for await (const { name } of bucket.list('')) {
    if (name.endsWith(MANIFEST_FILE)) published.push(name.slice(0, -MANIFEST_FILE.length));
    found.push(name);
  }
  for (const name of found) {
    if (published.some((place) => name.startsWith(place))) continue;
    if ((await bucket.head(name))?.metadata[JOB] === job) await bucket.remove(name);
  }
  if (published.length > 0) return;
  for await (const upload of bucket.uploads('')) await bucket.abort(upload);
}

/** The manifest of what is published there; null: nothing is, or it cannot be read as one. */
export async function manifestInBucket(output: string, place: string, access: S3Access): Promise<Manifest | null> {
  const there = await openOutput(output, access).get(key(place, MANIFEST_FILE));
  if (!there) return null;
  try {
    return parseManifest(Buffer.from(there.content).toString());
  } catch {
    return null;
  }
}

/** Whether a manifest is there, of whatever kind. */
export async function hasManifestInBucket(output: string, place: string, access: S3Access): Promise<boolean> {
  return (await openOutput(output, access).head(key(place, MANIFEST_FILE))) !== null;
}

/** Files of a manifest that are not there with the size and SHA-256 that it says. */
export async function missingInBucket(
  output: string,
  place: string,
  { files }: Pick<Manifest, 'files'>,
  access: S3Access,
): Promise<string[]> {
  const bucket = openOutput(output, access);
  const missing: string[] = [];
  for (const { name, bytes, sha256 } of files) {
    const there = await bucket.head(key(place, name));
    if (there?.bytes !== bytes || there.metadata[SHA256] !== sha256) missing.push(name);
  }
  return missing;
}

async function uploadFile(
  bucket: S3Bucket,
  name: string,
  path: string,
  { bytes, sha256 }: OutputFile,
  { job, overwrite }: Pick<BucketPublication, 'job' | 'overwrite'>,
): Promise<void> {
  const there = await bucket.head(name);
  if (there?.bytes === bytes && there.metadata[SHA256] === sha256) return;
  if (there && there.metadata[JOB] !== job && !overwrite) throw exists(`${bucket.location}/${name}`);
  const metadata = { [SHA256]: sha256, [JOB]: job };
  if (bytes <= SMALL_BYTES) {
    const content = await readFile(path);
    if (describeFile(name, content).sha256 !== sha256) throw changed(path);
    await bucket.put(name, content, sha256, metadata);
    return;
  }
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  if (hash.digest('hex') !== sha256) throw changed(path);
  await bucket.upload(name, bytes, () => createReadStream(path, { highWaterMark: 1 << 20 }), metadata);
}

/** Files of ours that were there before and are not part of what is published. Checkpoints below, and what others have put there, stay. */
async function removeOthers(bucket: S3Bucket, place: string, names: ReadonlySet<string>): Promise<void> {
  const others: string[] = [];
  const within: string[] = [];
  for await (const { name } of bucket.list(key(place, ''))) {
    if (names.has(name)) continue;
    if (name.endsWith(`/${MANIFEST_FILE}`)) within.push(name.slice(0, -MANIFEST_FILE.length));
    others.push(name);
  }
  for (const name of others) {
    if (within.some((other) => name.startsWith(other))) continue;
    if ((await bucket.head(name))?.metadata[SHA256]) await bucket.remove(name);
  }
}

function key(place: string, name: string): string {
  return place === '' ? name : `${place}/${name}`;
}

function exists(where: string): QuantloomError {
  return new QuantloomError(
    'OutputExists',
    `${where} exists. Name another output, or allow it to be replaced (overwrite).`,
  );
}

function changed(path: string): QuantloomError {
  return new QuantloomError('VerificationFailed', `${path} is not what its manifest says any more. Run the job again.`);
}
