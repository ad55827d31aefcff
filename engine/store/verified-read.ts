import type { BigIntStats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { both, ContentHash } from './content-hash';
import { CHUNK_BYTES } from './sha256';

/** Tells a file from what it was before any change, and from any other: content cannot be written without moving the time of change. */
export function fileIdentity({ dev, ino, size, ctimeNs }: BigIntStats): string {
  return `${dev}-${ino}-${size}-${ctimeNs}`;
}

export interface HashedFile {
  readonly sha256: string;
  /** Identity of the file that was read: a file that has replaced it since has another. */
  readonly inode: number;
}

/** A file that is hashed while it is read, from its beginning to its end. */
export class HashingReader {
  readonly #hash = new ContentHash();
  #position = 0;

  private constructor(
    private readonly handle: FileHandle,
    readonly bytes: number,
    readonly inode: number,
    /** The content is known as long as the file is this one, and only read. */
    private readonly known: string | null,
  ) {}

  /** False: the content is known, and only read. */
  get hashes(): boolean {
    return this.known === null;
  }

  /** @throws ENOENT when the file that was opened is another by now. */
  async requireUnchanged(): Promise<void> {
    if (fileIdentity(await this.handle.stat({ bigint: true })) === this.known) return;
    throw Object.assign(new Error('the file was written over while it was read'), { code: 'ENOENT' });
  }

  /** `known`: identity of the file when its hash was known; when it has not changed, nothing is hashed. @throws the system's error. */
  static async open(file: string, known?: string): Promise<HashingReader> {
    const handle = await open(file, 'r');
    const stats = await handle.stat({ bigint: true });
    const unchanged = known !== undefined && fileIdentity(stats) === known;
    return new HashingReader(handle, Number(stats.size), Number(stats.ino), unchanged ? known : null);
  }

  /** Fills `target` with what comes next; a chunk is hashed while the next one is read. @returns false when there is less. */
  async read(target: Uint8Array): Promise<boolean> {
    let waiting: Uint8Array | null = null;
    let whole = true;
    for (let start = 0; whole && start < target.byteLength; start += CHUNK_BYTES) {
      const chunk = target.subarray(start, start + CHUNK_BYTES);
      const reading = readFully(this.handle, chunk, this.#position);
      waiting = chunk.subarray(0, await both(reading, this.#update(waiting)));
      this.#position += waiting.byteLength;
      whole = waiting.byteLength === chunk.byteLength;
    }
    await this.#update(waiting);
    return whole;
  }

  /** Hashes what was not read, in memory of two chunks. @returns the SHA-256 of the whole file. Once only. */
  async finish(): Promise<string> {
    const rest = Math.max(0, this.bytes - this.#position);
    const chunkOf = () => Buffer.allocUnsafe(Math.min(CHUNK_BYTES, rest));
    let [next, other] = [chunkOf(), chunkOf()];
    let waiting: Uint8Array | null = null;
    while (this.#position < this.bytes) {
      const chunk = next.subarray(0, this.bytes - this.#position);
      const read = await both(readFully(this.handle, chunk, this.#position), this.#update(waiting));
      this.#position += read;
      waiting = chunk.subarray(0, read);
      if (read < chunk.byteLength) break;
      [next, other] = [other, next];
    }
    await this.#update(waiting);
    return this.#hash.digest();
  }

  close(): Promise<void> {
    return this.handle.close();
  }

  async #update(chunk: Uint8Array | null): Promise<void> {
    if (chunk !== null && this.hashes) await this.#hash.update(chunk);
  }
}

/** SHA-256 of a file, in memory of two chunks. @throws the system's error. */
export async function hashFile(file: string): Promise<HashedFile> {
  const reader = await HashingReader.open(file);
  try {
    return { sha256: await reader.finish(), inode: reader.inode };
  } finally {
    await reader.close();
  }
}

/** Content of a file and its SHA-256. The content has an ArrayBuffer of its own, from offset 0. @throws the system's error. */
export async function readAndHash(file: string): Promise<HashedFile & { readonly content: Uint8Array }> {
  const reader = await HashingReader.open(file);
  try {
    const content = new Uint8Array(new ArrayBuffer(reader.bytes));
    await reader.read(content);
    return { content, sha256: await reader.finish(), inode: reader.inode };
  } finally {
    await reader.close();
  }
}

async function readFully(handle: FileHandle, chunk: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < chunk.byteLength) {
    const { bytesRead } = await handle.read(chunk, done, chunk.byteLength - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}
