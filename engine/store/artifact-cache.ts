import { constants } from 'node:fs';
import { copyFile, mkdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { QuantloomError } from '../spec';
import type { ArtifactReader } from './artifact-store';
import { withLock } from './directory-lock';
import { RecentIdentities } from './recent-identities';
import { listShards } from './shards';
import { sweepTemporaryFiles, temporaryName } from './temporary-files';
import { fileIdentity, HashingReader, hashFile } from './verified-read';

export interface CacheSettings {
  /** Absolute. On a disk of this machine; many processes may have the same. */
  readonly directory: string;
  /** Bound on the bytes that are kept, to a few hundredths; 0: nothing is kept, the directory is for what is being written only. */
  readonly bytes: number;
}

/** A use counts as the last one when there is another this soon after: spares a write per read. */
const USED_JUST_NOW_MILLISECONDS = 60_000;
/** Every process looks at the whole directory once it has added this share of the bound. */
const SHARE_PER_LOOK = 1 / 32;
/** Looks cost time: that much less than the bound is left. */
const SHARE_KEPT = 15 / 16;

/**
 * Copies of artifacts on the disk of this machine, named after their SHA-256, in front of a store that is elsewhere. Those that were not
 * used for longest go first. A file has its name when all of it is there, and is not written again; each process hashes it before it
 * believes it for the first time.
 *
 * ```
 * objects/ab/abcd…   content
 * tmp/               what is being written
 * locks/             who is just fetching what
 * ```
 */
export class ArtifactCache {
  readonly #verified = new RecentIdentities();
  #addedBytes = Number.POSITIVE_INFINITY;
  #looking: Promise<void> | null = null;

  private constructor(
    readonly directory: string,
    private readonly limitBytes: number,
  ) {}

  /** @throws QuantloomError OutputUnwritable. */
  static async open({ directory, bytes }: CacheSettings): Promise<ArtifactCache> {
    try {
      for (const part of ['objects', 'tmp', 'locks']) await mkdir(path.join(directory, part), { recursive: true });
      for (const part of ['tmp', 'locks']) await sweepTemporaryFiles(path.join(directory, part));
    } catch (error) {
      throw new QuantloomError(
        'OutputUnwritable',
        `The cache ${directory} cannot be used: ${(error as Error).message}. Make it writable, or name another one (QUANTLOOM_CACHE).`,
        { cause: error, details: { directory } },
      );
    }
    return new ArtifactCache(directory, bytes);
  }

  /** Whether an artifact of so many bytes would be kept. */
  takes(bytes: number): boolean {
    return bytes <= this.limitBytes && this.limitBytes > 0;
  }

  /** A path for a file that is being written. */
  temporary(): string {
    return path.join(this.directory, 'tmp', temporaryName());
  }

  /** null: it is not here, or was damaged. */
  async open(sha256: string): Promise<ArtifactReader | null> {
    const reader = await this.#sound(sha256, (file, known) => HashingReader.open(file, known));
    if (reader === null) return null;
    return {
      bytes: reader.bytes,
      read: async (target) => {
        if (await reader.read(target)) return;
        throw new RangeError(`the artifact ${sha256} has ${reader.bytes} bytes, and more were asked for`);
      },
      finish: async () => undefined,
      close: () => reader.close(),
    };
  }

  /** The content, in a buffer of its own; null: it is not here, or was damaged. */
  async get(sha256: string): Promise<Uint8Array | null> {
    const reader = await this.open(sha256);
    if (reader === null) return null;
    try {
      const content = new Uint8Array(new ArrayBuffer(reader.bytes));
      await reader.read(content);
      return content;
    } finally {
      await reader.close();
    }
  }

  /** Copies it to a new file. @returns the SHA-256 of what was written; null: it is not here, or was damaged. */
  async copyTo(sha256: string, target: string): Promise<string | null> {
    const copied = await this.#sound(sha256, async (file) => {
      await copyFile(file, target, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
      return true;
    });
    return copied === null ? null : (await hashFile(target)).sha256;
  }

  /** Takes a file of this content that was written at a `temporary` path. It is no error when it cannot be kept. */
  async adopt(temporary: string, sha256: string): Promise<void> {
    try {
      const { size } = await stat(temporary);
      if (!this.takes(size)) return await rm(temporary, { force: true });
      const file = this.#file(sha256);
      // A date in whole seconds survives that the other one, of the last use, is set.
      const now = Math.floor(Date.now() / 1000);
      await utimes(temporary, now, now);
      await mkdir(path.dirname(file), { recursive: true });
      await rename(temporary, file);
      this.#verified.add(sha256, contentIdentity(await stat(file)));
      this.#addedBytes += size;
      if (this.#addedBytes > this.limitBytes * SHARE_PER_LOOK) await this.#makeRoom();
    } catch {
      await rm(temporary, { force: true }).catch(() => undefined);
    }
  }

  /** Keeps a copy of content that is known to be right. It is no error when it cannot be kept. */
  async keep(sha256: string, content: Uint8Array): Promise<void> {
    if (!this.takes(content.byteLength)) return;
    const temporary = this.temporary();
    const written = await writeFile(temporary, content).then(
      () => true,
      () => false,
    );
    if (written) return this.adopt(temporary, sha256);
    await rm(temporary, { force: true });
  }

  async remove(sha256: string): Promise<void> {
    await rm(this.#file(sha256), { force: true });
  }

  /** Does `work`, which fetches the artifact, while no other process does that shares this cache. */
  async alone<T>(sha256: string, work: () => Promise<T>): Promise<T> {
    return this.limitBytes === 0 ? work() : withLock(path.join(this.directory, 'locks', sha256), work);
  }

  /** @param use is given the file, and its identity where reading it again needs no hash. @returns null: not here, or was damaged. */
  async #sound<T>(sha256: string, use: (file: string, known: string) => Promise<T>): Promise<T | null> {
    const file = this.#file(sha256);
    try {
      const before = await stat(file);
      if (this.#verified.get(sha256) !== contentIdentity(before)) {
        if ((await hashFile(file)).sha256 !== sha256) {
          await rm(file, { force: true });
          return null;
        }
        this.#verified.add(sha256, contentIdentity(before));
      }
      if (Date.now() - before.atimeMs > USED_JUST_NOW_MILLISECONDS) {
        await utimes(file, Date.now() / 1000, before.mtimeMs / 1000).catch(() => undefined);
      }
      return await use(file, fileIdentity(await stat(file, { bigint: true })));
    } catch (error) {
      // Another process may have made room.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT' && (await stat(file).catch(() => null)) === null)
        return null;
      throw error;
    }
  }

  #makeRoom(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null;
    });
    return this.#looking;
  }

  async #look(): Promise<void> {
    this.#addedBytes = 0;
    const files = [];
    for await (const file of listShards(path.join(this.directory, 'objects'))) files.push(file);
    let total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    if (total <= this.limitBytes) return;
    files.sort((a, b) => a.accessed.getTime() - b.accessed.getTime());
    for (const { name, bytes } of files) {
      if (total <= this.limitBytes * SHARE_KEPT) return;
      await rm(this.#file(name), { force: true });
      total -= bytes;
    }
  }

  #file(sha256: string): string {
    return path.join(this.directory, 'objects', sha256.slice(0, 2), sha256);
  }
}

/** Tells a file from what it was before its content changed, as far as dates tell; the date of its last use is not part of it. */
function contentIdentity({ dev, ino, size, mtimeMs }: Awaited<ReturnType<typeof stat>>): string {
  return `${dev}-${ino}-${size}-${mtimeMs}`;
}
