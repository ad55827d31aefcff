import { constants } from 'node:fs';
import { access, copyFile, link, mkdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import { QuantloomError } from '../spec';
import type { ArtifactReader, ArtifactStore, ArtifactWriter, StoredArtifact } from './artifact-store';
import { both } from './content-hash';
import { createFileWriter, makeShard } from './file-writer';
import { RecentIdentities } from './recent-identities';
import { decodeRecord, encodeRecord, USED_RECENTLY_MILLISECONDS } from './record-file';
import { replaceFile, wronglyWritten } from './replace-file';
import { requireSha256 } from './sha256';
import { listShards, type ShardEntry } from './shards';
import { SpareFiles } from './spare-files';
import { asStoreFull } from './store-full';
import { synchronize, writeAndHash } from './synchronized-write';
import { sweepTemporaryFiles, temporaryName } from './temporary-files';
import { HashingReader, hashFile, readAndHash } from './verified-read';

/**
 * Opens (and makes, if need be) a store in a directory. Many processes, also on several machines with one shared file system, may
 * have the same store open. Layout:
 *
 * ```
 * objects/ab/abcd…   content, named after its SHA-256
 * records/ab/abcd…   a record, named after its key
 * quarantine/        what did not match its hash, for a look at it
 * tmp/               what is being written
 * spare/             what nobody needs, to be written over
 * ```
 *
 * The file system must know hard links (a record is linked into place, so that the first one wins).
 *
 * @throws QuantloomError OutputUnwritable when the directory cannot be made or written.
 */
export async function openFileStore(directory: string): Promise<ArtifactStore> {
  const root = path.resolve(directory);
  try {
    for (const part of ['objects', 'records', 'quarantine', 'tmp', 'spare']) {
      await mkdir(path.join(root, part), { recursive: true });
      await access(path.join(root, part), constants.W_OK | constants.X_OK);
    }
    const store = new FileStore(root);
    await store.removeUnfinished();
    return store;
  } catch (error) {
    throw new QuantloomError(
      'OutputUnwritable',
      `The store ${root} cannot be used: ${(error as Error).message}. ` +
        'Make the directory writable for this user, or name another one (QUANTLOOM_STORE).',
      { cause: error, details: { directory: root } },
    );
  }
}

class FileStore implements ArtifactStore {
  /** What this process wrote itself: as long as the file has not changed since, it need not be hashed when it is read. */
  readonly #written = new RecentIdentities();

  readonly #spares: SpareFiles;

  constructor(readonly location: string) {
    this.#spares = new SpareFiles(path.join(location, 'spare'));
  }

  async put(content: Uint8Array, options: { readonly durable?: boolean } = {}): Promise<string> {
    const writer = await this.create({ ...options, bytes: content.byteLength });
    try {
      await writer.write(content);
      return await writer.commit();
    } finally {
      await writer.close();
    }
  }

  create({
    durable = true,
    bytes = 0,
  }: {
    readonly durable?: boolean;
    readonly bytes?: number;
  } = {}): Promise<ArtifactWriter> {
    return createFileWriter({
      spares: this.#spares,
      bytes,
      temporary: this.#temporary(),
      location: this.location,
      objectOf: (sha256) => this.#object(sha256),
      written: (sha256, identity) => this.#written.add(sha256, identity),
      durable,
    });
  }

  async open(sha256: string): Promise<ArtifactReader> {
    const object = this.#object(sha256);
    const reader = await this.#orMissing(sha256, HashingReader.open(object, this.#written.get(sha256)));
    const check = async () => {
      if (!reader.hashes) return this.#orMissing(sha256, reader.requireUnchanged());
      const found = { sha256: await reader.finish(), inode: reader.inode };
      if (found.sha256 !== sha256) throw await this.#mismatch(sha256, found);
    };
    return {
      bytes: reader.bytes,
      read: async (target) => {
        if (await reader.read(target)) return;
        await check();
        throw new RangeError(`the artifact ${sha256} has ${reader.bytes} bytes, and more were asked for`);
      },
      finish: check,
      close: () => reader.close(),
    };
  }

  async get(sha256: string): Promise<Uint8Array> {
    const object = this.#object(sha256);
    const read = await this.#orMissing(sha256, readAndHash(object));
    if (read.sha256 !== sha256) throw await this.#mismatch(sha256, read);
    return read.content;
  }

  async has(sha256: string): Promise<boolean> {
    return exists(this.#object(sha256));
  }

  async remove(sha256: string): Promise<void> {
    await rm(this.#object(sha256), { force: true });
  }

  async recycle(sha256: string): Promise<void> {
    await this.#spares.keep(this.#object(sha256));
  }

  async exportTo(sha256: string, target: string): Promise<void> {
    const object = this.#object(sha256);
    const { size } = await this.#orMissing(sha256, stat(object));
    await replaceFile(target, size, async (temporary) => {
      await this.#orMissing(sha256, copyFile(object, temporary, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL));
      // The disk writes while the copy is read again.
      const copied = await both(hashFile(temporary), synchronize(temporary));
      if (copied.sha256 === sha256) return;
      const stored = await this.#orMissing(sha256, hashFile(object));
      throw stored.sha256 === sha256
        ? wronglyWritten(target, sha256, copied.sha256)
        : await this.#corrupt(sha256, stored);
    });
  }

  async record(key: string, value: unknown): Promise<'stored' | 'existed'> {
    const record = this.#record(key);
    const content = encodeRecord(value);
    if (await exists(record)) return 'existed';
    const temporary = this.#temporary();
    try {
      await writeAndHash(temporary, content);
      await synchronize(temporary);
      await makeShard(record, true);
      await link(temporary, record);
      await synchronize(path.dirname(record));
      return 'stored';
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return 'existed';
      await rm(temporary, { force: true }); // before the free bytes are looked at
      throw await asStoreFull(error, this.location, content.byteLength);
    } finally {
      await rm(temporary, { force: true });
    }
  }

  async recall(key: string, { peek = false }: { readonly peek?: boolean } = {}): Promise<unknown | null> {
    const record = this.#record(key);
    const content = await readFile(record).catch(nullIfAbsent);
    if (content === null) return null;
    const decoded = decodeRecord(content);
    if (decoded === null) {
      await this.#quarantine(record, `record-${key}`);
      return null;
    }
    if (!peek) await markAsUsed(record);
    return decoded.value;
  }

  async forget(key: string): Promise<void> {
    await rm(this.#record(key), { force: true });
  }

  async *artifacts(): AsyncIterable<StoredArtifact> {
    for await (const { name, bytes, modified } of this.#list('objects')) yield { sha256: name, bytes, modified };
  }

  async *records(): AsyncIterable<{ readonly key: string; readonly modified: Date }> {
    for await (const { name, modified } of this.#list('records')) yield { key: name, modified };
  }

  async removeUnfinished(): Promise<number> {
    let removed = 0;
    for (const part of ['tmp', 'spare']) removed += await sweepTemporaryFiles(path.join(this.location, part));
    return removed;
  }

  #list(part: 'objects' | 'records'): AsyncIterable<ShardEntry> {
    return listShards(path.join(this.location, part));
  }

  #object(sha256: string): string {
    requireSha256(sha256, 'The SHA-256 of an artifact');
    return path.join(this.location, 'objects', sha256.slice(0, 2), sha256);
  }

  #record(key: string): string {
    requireSha256(key, 'The key of a record');
    return path.join(this.location, 'records', key.slice(0, 2), key);
  }

  #temporary(): string {
    return path.join(this.location, 'tmp', temporaryName());
  }

  /** Corrupt, or recycled while it was read. */
  async #mismatch(sha256: string, found: { readonly sha256: string; readonly inode: number }): Promise<unknown> {
    try {
      await this.#orMissing(sha256, stat(this.#object(sha256)));
    } catch (missing) {
      return missing;
    }
    return this.#corrupt(sha256, found);
  }

  async #corrupt(sha256: string, found: { readonly sha256: string; readonly inode: number }): Promise<QuantloomError> {
    const object = this.#object(sha256);
    // Somebody else may have put the right content in its place since it was read.
    const now = await stat(object).catch(nullIfAbsent);
    const moved = now?.ino === found.inode ? await this.#quarantine(object, sha256) : null;
    return new QuantloomError(
      'ArtifactCorrupt',
      `${object} has SHA-256 ${found.sha256} instead of ${sha256}. ` +
        (moved === null ? 'It has been replaced since. ' : `It was moved to ${moved}. `) +
        'Run again to compute it anew; if it happens again, check the disk.',
      { details: { file: object, expected: sha256, found: found.sha256, quarantined: moved } },
    );
  }

  async #quarantine(file: string, name: string): Promise<string | null> {
    const target = path.join(this.location, 'quarantine', `${name}-${temporaryName()}`);
    return rename(file, target).then(() => target, nullIfAbsent);
  }

  async #orMissing<T>(sha256: string, reading: Promise<T>): Promise<T> {
    try {
      return await reading;
    } catch (error) {
      if (codeOf(error) !== 'ENOENT' || (await this.has(sha256))) throw error;
      throw new QuantloomError(
        'ArtifactMissing',
        `The artifact ${sha256} is not in the store ${this.location}. Run again to compute it anew.`,
        { cause: error, details: { sha256, location: this.location } },
      );
    }
  }
}

async function exists(file: string): Promise<boolean> {
  return (await stat(file).catch(nullIfAbsent)) !== null;
}

/** Collection goes by last use. A store that may only be read, or a file just removed, is no reason to fail. */
async function markAsUsed(file: string): Promise<void> {
  const now = new Date();
  const found = await stat(file).catch(() => null);
  if (found !== null && now.getTime() - found.mtimeMs > USED_RECENTLY_MILLISECONDS) {
    await utimes(file, now, now).catch(() => undefined);
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | null)?.code;
}

function nullIfAbsent(error: unknown): null {
  if (codeOf(error) === 'ENOENT') return null;
  throw error;
}
