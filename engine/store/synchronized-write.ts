import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { CHUNK_BYTES } from './sha256';

/**
 * Writes a new file; a chunk is hashed while it is written, so that neither waits for the other and the event loop for neither.
 *
 * @returns the SHA-256 of the content.
 * @throws the system's error; the file is left as it is then.
 */
export async function writeAndHash(file: string, content: Uint8Array): Promise<string> {
  const handle = await open(file, 'wx');
  try {
    const hash = createHash('sha256');
    for (let start = 0; start < content.byteLength; start += CHUNK_BYTES) {
      const chunk = content.subarray(start, start + CHUNK_BYTES);
      const writing = writeFully(handle, chunk, start);
      hash.update(chunk);
      await writing;
    }
    return hash.digest('hex');
  } finally {
    await handle.close();
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
