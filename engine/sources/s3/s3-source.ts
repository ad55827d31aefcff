import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import { QuantloomError } from '../../spec';
import { loadS3, parseS3Address, S3_SCHEME } from '../../store';
import type { ModelSource, RemoteFile } from '../remote/model-source';
import { type SourceAccess, STALL_MILLISECONDS } from '../remote/source-access';
import { StallLimit } from '../remote/stall-limit';

const PINNED = /^(.*?)\/*@([0-9a-f]{64})$/;
/** A model has some hundred; what has more is no model. */
const MOST_OBJECTS = 10_000;

type Bucket = InstanceType<ReturnType<typeof loadS3>['S3Bucket']>;
type Listed = { readonly name: string; readonly bytes: number; readonly etag: string };

/**
 * Models below a prefix of a bucket: `s3://bucket/prefix`. An address is pinned to a digest of what is listed there, names, sizes and ETags;
 * every read asks for the object that has that ETag.
 */
export const s3Source: ModelSource = {
  scheme: S3_SCHEME,

  isPinned: (address) => parsePinned(address).digest !== null,

  async pin(address, access) {
    const { place, digest } = parsePinned(address);
    if (digest !== null) return address;
    return `${place}@${digestOf(await list(place, openBucket(place, access)))}`;
  },

  folder(pinned) {
    const { place, digest } = parsePinned(pinned);
    const { bucket, prefix } = parseS3Address(place);
    return `s3/${bucket}/${digest ?? '_'}/${posix.basename(prefix) || bucket}`;
  },

  async files(pinned, access) {
    const { place, digest } = parsePinned(pinned);
    const bucket = openBucket(place, access);
    const listed = await list(place, bucket);
    if (digestOf(listed) !== digest) throw changed(pinned);
    return listed.map(
      ({ name, bytes, etag }): RemoteFile => ({
        path: name,
        bytes,
        digest: null,
        read: async (range, signal) => {
          const limit = new StallLimit(place, access.stallMilliseconds ?? STALL_MILLISECONDS, signal);
          try {
            const found = await bucket.stream(name, { ...range, etag }, limit.signal);
            if (found === null) throw changed(pinned, name);
            return heard(found, limit);
          } catch (error) {
            limit.end();
            throw error;
          }
        },
      }),
    );
  },
};

/** @throws QuantloomError WrongUse. */
function parsePinned(address: string): { readonly place: string; readonly digest: string | null } {
  const [, place, digest] = PINNED.exec(address) ?? [];
  parseS3Address(place ?? address);
  return place !== undefined && digest !== undefined
    ? { place, digest }
    : { place: address.replace(/\/+$/, ''), digest: null };
}

function openBucket(place: string, { s3 = {}, stallMilliseconds }: SourceAccess): Bucket {
  const limit = stallMilliseconds === undefined ? {} : { stallMilliseconds };
  return new (loadS3().S3Bucket)(parseS3Address(place), { ...s3, ...limit }, 'SourceUnavailable');
}

/** Objects below the prefix, by name. @throws QuantloomError ModelNotFound. */
async function list(place: string, bucket: Bucket): Promise<readonly Listed[]> {
  const listed: Listed[] = [];
  for await (const { name, bytes, etag } of bucket.list('')) {
    // What consoles make where a folder is to be.
    if (name.endsWith('/') || name === '') continue;
    listed.push({ name, bytes, etag });
    if (listed.length <= MOST_OBJECTS) continue;
    throw new QuantloomError(
      'InvalidModel',
      `${place} has more than ${MOST_OBJECTS} objects; name the prefix of one model.`,
    );
  }
  if (listed.length > 0) return listed.sort((a, b) => (a.name < b.name ? -1 : 1));
  throw new QuantloomError(
    'ModelNotFound',
    `There is nothing at ${place}/. Check the address, and what the account may list.`,
  );
}

function digestOf(listed: readonly Listed[]): string {
  const hash = createHash('sha256');
  for (const { name, bytes, etag } of listed) hash.update(`${JSON.stringify([name, bytes, etag])}\n`);
  return hash.digest('hex');
}

function changed(pinned: string, name?: string): QuantloomError {
  const what = name === undefined ? pinned : `${name} of ${pinned}`;
  return new QuantloomError(
    'SourceChanged',
    `${what} is no longer what was pinned. Start the job again with what is there now.`,
  );
}

async function* heard(body: AsyncIterable<Uint8Array>, limit: StallLimit): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of body) {
      limit.heard();
      yield chunk;
    }
  } catch (error) {
    throw limit.signal.aborted ? limit.signal.reason : error;
  } finally {
    limit.end();
  }
}
