import { createReadStream } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { QuantloomError } from '../../spec';
import type { ArtifactCache } from '../artifact-cache';
import type { ArtifactReader, ArtifactStore, ArtifactWriter, StoredArtifact } from '../artifact-store';
import { ContentHash } from '../content-hash';
import { decodeRecord, encodeRecord, USED_RECENTLY_MILLISECONDS } from '../record-file';
import { replaceFile, wronglyWritten } from '../replace-file';
import { CHUNK_BYTES, requireSha256, sha256Of } from '../sha256';
import { asStoreFull } from '../store-full';
import { HashingWriter } from '../synchronized-write';
import { temporaryName } from '../temporary-files';
import { readAhead, readWhole } from './read-ahead';
import { PART_BYTES, type S3Bucket } from './s3-bucket';

/** Longer than an upload takes. */
const DAY_MILLISECONDS = 86_400_000;
const NAME = /^[a-z]+\/[0-9a-f]{2}\/([0-9a-f]{64})$/;

/** Told whether an artifact that somebody wanted was in the cache. */
export type CacheObserver = (found: boolean) => void;

/**
 * A store in a bucket, with a cache on this machine in front of it. Keys below the prefix are the paths of a store in a directory: `objects/ab/abcd…`,
 * `records/ab/abcd…`, `quarantine/…`; one can be copied to the other.
 *
 * The server must know conditional writes (`If-None-Match: *`: a record is kept only if it is the first) and show what was written at once.
 */
export class S3Store implements ArtifactStore {
  /** Who waits for the same artifact waits for one that fetches it. */
  readonly #fetching = new Map<string, Promise<unknown>>();

  private constructor(
    private readonly bucket: S3Bucket,
    private readonly cache: ArtifactCache,
    private readonly sought: CacheObserver,
  ) {}

  /** @throws QuantloomError StoreUnavailable, AccessDenied. */
  static async open(bucket: S3Bucket, cache: ArtifactCache, sought: CacheObserver = () => {}): Promise<S3Store> {
    await bucket.check();
    return new S3Store(bucket, cache, sought);
  }

  get location(): string {
    return this.bucket.location;
  }

  async put(content: Uint8Array): Promise<string> {
    const sha256 = await sha256Of(content);
    if (content.byteLength <= PART_BYTES) await this.bucket.put(objectName(sha256), content, sha256);
    else await this.bucket.upload(objectName(sha256), content.byteLength, content);
    await this.cache.keep(sha256, content);
    return sha256;
  }

  /** The name of an object is its hash, so it is written to this machine's disk first, which is where the next one to read it looks for it. */
  async create(): Promise<ArtifactWriter> {
    const temporary = this.cache.temporary();
    let bytes = 0;
    const guarded = async <T>(work: Promise<T>): Promise<T> => {
      try {
        return await work;
      } catch (error) {
        await rm(temporary, { force: true });
        throw await asStoreFull(error, this.cache.directory, bytes);
      }
    };
    const writer = await guarded(HashingWriter.create(temporary));
    let open = true;
    const closeFile = async () => {
      if (!open) return;
      open = false;
      await writer.close();
    };
    return {
      write: (content) => {
        bytes += content.byteLength;
        return guarded(writer.write(content));
      },
      commit: async () => {
        await guarded(closeFile());
        const sha256 = writer.sha256();
        await this.#uploadFile(temporary, sha256, bytes);
        await this.cache.adopt(temporary, sha256);
        return sha256;
      },
      close: async () => {
        await closeFile();
        await rm(temporary, { force: true });
      },
    };
  }

  async get(sha256: string): Promise<Uint8Array> {
    requireSha256(sha256, 'The SHA-256 of an artifact');
    const cached = () => this.cache.get(sha256);
    return this.#seek(await cached()) ?? this.#once(sha256, async () => (await cached()) ?? this.#getRemote(sha256));
  }

  async open(sha256: string): Promise<ArtifactReader> {
    requireSha256(sha256, 'The SHA-256 of an artifact');
    const cached = this.#seek(await this.cache.open(sha256));
    if (cached) return cached;
    const bytes = await this.#bytesOf(sha256);
    if (!this.cache.takes(bytes)) return this.#readRemote(sha256, bytes);
    // Who only asks whether it can be read fetches nothing.
    let opening: Promise<ArtifactReader> | null = null;
    const opened = () => {
      opening ??= this.#openFetched(sha256, bytes);
      return opening;
    };
    return {
      bytes,
      read: async (target) => (await opened()).read(target),
      finish: async () => (await opened()).finish(),
      close: async () => (await opening?.catch(() => null))?.close(),
    };
  }

  async has(sha256: string): Promise<boolean> {
    return (await this.bucket.head(objectName(sha256))) !== null;
  }

  async remove(sha256: string): Promise<void> {
    await this.bucket.remove(objectName(sha256));
    await this.cache.remove(sha256);
  }

  recycle(sha256: string): Promise<void> {
    return this.remove(sha256);
  }

  /** What is not cached goes straight to its file: what is exported is seldom read again. */
  async exportTo(sha256: string, target: string): Promise<void> {
    const bytes = await this.#bytesOf(sha256);
    await replaceFile(target, bytes, async (temporary) => {
      const copied = this.#seek(await this.cache.copyTo(sha256, temporary));
      if (copied === null) await this.#download(sha256, bytes, temporary, { durable: true });
      else if (copied !== sha256) throw wronglyWritten(target, sha256, copied);
    });
  }

  async record(key: string, value: unknown): Promise<'stored' | 'existed'> {
    const name = recordName(key);
    return (await this.bucket.putIfAbsent(name, encodeRecord(value))) ? 'stored' : 'existed';
  }

  async recall(key: string, { peek = false }: { readonly peek?: boolean } = {}): Promise<unknown | null> {
    const found = await this.bucket.get(recordName(key));
    if (found === null) return null;
    const decoded = decodeRecord(found.content);
    if (decoded === null) {
      await this.#quarantine(found.name, `record-${key}`);
      return null;
    }
    if (!peek && Date.now() - found.modified.getTime() > USED_RECENTLY_MILLISECONDS) {
      // A store that may only be read is no reason to fail.
      await this.bucket.putOver(found.name, found.content, found.etag).catch(() => undefined);
    }
    return decoded.value;
  }

  async forget(key: string): Promise<void> {
    await this.bucket.remove(recordName(key));
  }

  async *artifacts(): AsyncIterable<StoredArtifact> {
    for await (const { name, bytes, modified } of this.bucket.list('objects/')) {
      const sha256 = NAME.exec(name)?.[1];
      if (sha256 !== undefined) yield { sha256, bytes, modified };
    }
  }

  async *records(): AsyncIterable<{ readonly key: string; readonly modified: Date }> {
    for await (const { name, modified } of this.bucket.list('records/')) {
      const key = NAME.exec(name)?.[1];
      if (key !== undefined) yield { key, modified };
    }
  }

  async removeUnfinished(olderThanMilliseconds = DAY_MILLISECONDS): Promise<number> {
    let removed = 0;
    for await (const upload of this.bucket.uploads('objects/')) {
      if (Date.now() - upload.begun.getTime() < olderThanMilliseconds) continue;
      await this.bucket.abort(upload);
      removed++;
    }
    return removed;
  }

  #seek<T>(found: T | null): T | null {
    this.sought(found !== null);
    return found;
  }

  async #uploadFile(file: string, sha256: string, bytes: number): Promise<void> {
    const name = objectName(sha256);
    if (bytes <= PART_BYTES) return this.bucket.put(name, await readFile(file), sha256);
    return this.bucket.upload(name, bytes, () => createReadStream(file, { highWaterMark: CHUNK_BYTES }));
  }

  /** One who fetches an artifact at a time, of all that share the cache. */
  async #once<T>(sha256: string, work: () => Promise<T>): Promise<T> {
    while (this.#fetching.has(sha256)) await this.#fetching.get(sha256)?.catch(() => undefined);
    const fetching = this.cache.alone(sha256, work);
    this.#fetching.set(sha256, fetching);
    try {
      return await fetching;
    } finally {
      this.#fetching.delete(sha256);
    }
  }

  async #getRemote(sha256: string): Promise<Uint8Array> {
    const content = new Uint8Array(new ArrayBuffer(await this.#bytesOf(sha256)));
    const hash = new ContentHash();
    const bytes = await readWhole(this.bucket, objectName(sha256), content, (piece) => hash.update(piece));
    if (bytes === null) throw this.#missing(sha256);
    const found = hash.digest();
    if (found !== sha256) throw await this.#mismatch(sha256, found);
    await this.cache.keep(sha256, content);
    return content;
  }

  /** From the cache, once it is there; where it cannot be kept, from the bucket. */
  #openFetched(sha256: string, bytes: number): Promise<ArtifactReader> {
    return this.#once(sha256, async () => {
      const cached = await this.cache.open(sha256);
      if (cached) return cached;
      const temporary = this.cache.temporary();
      try {
        await this.#download(sha256, bytes, temporary);
        await this.cache.adopt(temporary, sha256);
      } catch (error) {
        if (QuantloomError.is(error)) throw error;
      } finally {
        await rm(temporary, { force: true });
      }
      return (await this.cache.open(sha256)) ?? this.#readRemote(sha256, bytes);
    });
  }

  /** @throws the system's error; QuantloomError ArtifactMissing, ArtifactCorrupt, StoreUnavailable. */
  async #download(sha256: string, bytes: number, target: string, { durable = false } = {}): Promise<void> {
    const writer = await HashingWriter.create(target, { durable });
    try {
      for await (const piece of this.#pieces(sha256, bytes)) await writer.write(piece);
      if (durable) await writer.synchronize();
    } finally {
      await writer.close();
    }
    const found = writer.sha256();
    if (found !== sha256) throw await this.#mismatch(sha256, found);
  }

  #readRemote(sha256: string, bytes: number): ArtifactReader {
    const hash = new ContentHash();
    const pieces = this.#pieces(sha256, bytes);
    let piece: Uint8Array = new Uint8Array(0);
    /** @returns false at the end. */
    const more = async () => {
      const { done, value } = await pieces.next();
      if (done) return false;
      await hash.update(value);
      piece = value;
      return true;
    };
    const finish = async () => {
      while (await more());
      const found = hash.digest();
      if (found !== sha256) throw await this.#mismatch(sha256, found);
    };
    return {
      bytes,
      read: async (target) => {
        for (let done = 0; done < target.byteLength; ) {
          if (piece.byteLength === 0 && !(await more())) {
            await finish();
            throw new RangeError(`the artifact ${sha256} has ${bytes} bytes, and more were asked for`);
          }
          const part = piece.subarray(0, target.byteLength - done);
          target.set(part, done);
          done += part.byteLength;
          piece = piece.subarray(part.byteLength);
        }
      },
      finish,
      close: async () => {
        await pieces.return(undefined);
      },
    };
  }

  async *#pieces(sha256: string, bytes: number): AsyncGenerator<Uint8Array> {
    for await (const piece of readAhead(this.bucket, objectName(sha256), bytes)) {
      if (piece === null) throw this.#missing(sha256);
      yield piece;
    }
  }

  async #bytesOf(sha256: string): Promise<number> {
    const found = await this.bucket.head(objectName(sha256));
    if (found === null) throw this.#missing(sha256);
    return found.bytes;
  }

  #missing(sha256: string): QuantloomError {
    return new QuantloomError(
      'ArtifactMissing',
      `The artifact ${sha256} is not in the store ${this.location}. Run again to compute it anew.`,
      { details: { sha256, location: this.location } },
    );
  }

  /** What arrived is not what it has to be: the line may have damaged it, or the store has. */
  async #mismatch(sha256: string, found: string): Promise<unknown> {
    const hash = new ContentHash();
    try {
      const bytes = await this.#bytesOf(sha256);
      for await (const piece of this.#pieces(sha256, bytes)) await hash.update(piece);
    } catch (error) {
      return error;
    }
    if (hash.digest() === sha256) {
      return new QuantloomError(
        'StoreUnavailable',
        `${this.location}/${objectName(sha256)} arrived with SHA-256 ${found}, and is right when it is read again. ` +
          'What stands between here and there damages data, or somebody wrote it meanwhile.',
        { retryable: true, details: { expected: sha256, found } },
      );
    }
    const moved = await this.#quarantine(objectName(sha256), sha256);
    return new QuantloomError(
      'ArtifactCorrupt',
      `${this.location}/${objectName(sha256)} has SHA-256 ${found} instead of ${sha256}. It was moved to ${moved}. ` +
        'Run again to compute it anew; if it happens again, check the storage.',
      { details: { expected: sha256, found, quarantined: moved } },
    );
  }

  async #quarantine(name: string, label: string): Promise<string> {
    const target = `quarantine/${label}-${temporaryName()}`;
    await this.bucket.copy(name, target);
    await this.bucket.remove(name);
    return `${this.location}/${target}`;
  }
}

function objectName(sha256: string): string {
  requireSha256(sha256, 'The SHA-256 of an artifact');
  return `objects/${sha256.slice(0, 2)}/${sha256}`;
}

function recordName(key: string): string {
  requireSha256(key, 'The key of a record');
  return `records/${key.slice(0, 2)}/${key}`;
}
