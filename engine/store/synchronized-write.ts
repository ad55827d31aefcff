import { type FileHandle, open } from 'node:fs/promises';
import { both, ContentHash } from './content-hash';
import { EarlyFlush } from './early-flush';
import { CHUNK_BYTES } from './sha256';

/** A new file that is hashed while it is written: neither waits for the other, and the event loop for neither. */
export class HashingWriter {
  readonly #hash = new ContentHash();
  readonly #early: EarlyFlush | null;
  #position = 0;

  private constructor(
    private readonly handle: FileHandle,
    { durable = false }: { readonly durable?: boolean } = {},
  ) {
    this.#early = durable ? new EarlyFlush(handle) : null;
  }

  /** @param options `durable`: it will be synchronized, so the disk begins at once. @throws the system's error, also when the file exists. */
  static async create(file: string, options: { readonly durable?: boolean } = {}): Promise<HashingWriter> {
    return new HashingWriter(await open(file, 'wx'), options);
  }

  /** Writes over a file that exists. @throws the system's error. */
  static async over(file: string): Promise<HashingWriter> {
    return new HashingWriter(await open(file, 'r+'));
  }

  /** Appends; the content must stay as it is until this has settled. @throws the system's error; the file is left as it is then. */
  async write(content: Uint8Array): Promise<void> {
    for (let start = 0; start < content.byteLength; start += CHUNK_BYTES) {
      const chunk = content.subarray(start, start + CHUNK_BYTES);
      await both(writeFully(this.handle, chunk, this.#position), this.#hash.update(chunk));
      this.#position += chunk.byteLength;
      this.#early?.written(chunk.byteLength);
    }
  }

  /** Makes what was written survive a power cut. @throws the system's error. */
  async synchronize(): Promise<void> {
    await this.#early?.settled();
    await this.handle.sync();
  }

  /** The file ends here. */
  async end(): Promise<void> {
    await this.handle.truncate(this.#position);
  }

  /** SHA-256 of all that was written. Once only. */
  sha256(): string {
    return this.#hash.digest();
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}

/** Writes a new file in one go. @returns the SHA-256 of the content. @throws the system's error. */
export async function writeAndHash(file: string, content: Uint8Array): Promise<string> {
  const writer = await HashingWriter.create(file);
  try {
    await writer.write(content);
    return writer.sha256();
  } finally {
    await writer.close();
  }
}

async function writeFully(handle: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < chunk.byteLength; ) {
    const { bytesWritten } = await handle.write(chunk, done, chunk.byteLength - done, position + done);
    done += bytesWritten;
  }
}

/** Makes a file's content, or a directory's entries, survive a power cut. */
export async function synchronize(fileOrDirectory: string): Promise<void> {
  const handle = await open(fileOrDirectory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
