import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { CHUNK_BYTES } from './sha256';

export interface HashedFile {
  readonly sha256: string;
  /** Identity of the file that was read: a file that has replaced it since has another. */
  readonly inode: number;
}

/** SHA-256 of a file, in memory of two chunks. @throws the system's error. */
export async function hashFile(file: string): Promise<HashedFile> {
  const handle = await open(file, 'r');
  try {
    const { size, ino } = await handle.stat();
    const buffers = [Buffer.allocUnsafe(CHUNK_BYTES), Buffer.allocUnsafe(CHUNK_BYTES)];
    const sha256 = await hashWhileReading(handle, size, (start, bytes) =>
      (buffers[(start / CHUNK_BYTES) % 2] as Buffer).subarray(0, bytes),
    );
    return { sha256, inode: ino };
  } finally {
    await handle.close();
  }
}

/** Content of a file and its SHA-256. The content has an ArrayBuffer of its own, from offset 0. @throws the system's error. */
export async function readAndHash(file: string): Promise<HashedFile & { readonly content: Uint8Array }> {
  const handle = await open(file, 'r');
  try {
    const { size, ino } = await handle.stat();
    const content = new Uint8Array(new ArrayBuffer(size));
    const sha256 = await hashWhileReading(handle, size, (start, bytes) => content.subarray(start, start + bytes));
    return { content, sha256, inode: ino };
  } finally {
    await handle.close();
  }
}

/** Reads chunk by chunk into what `target` hands out; a chunk is hashed while the next one is read. */
async function hashWhileReading(
  handle: FileHandle,
  size: number,
  target: (start: number, bytes: number) => Uint8Array,
): Promise<string> {
  const hash = createHash('sha256');
  let waiting: Uint8Array | null = null;
  for (let start = 0; start < size; start += CHUNK_BYTES) {
    const chunk = target(start, Math.min(CHUNK_BYTES, size - start));
    const reading = readFully(handle, chunk, start);
    update(hash, waiting);
    waiting = chunk.subarray(0, await reading);
    if (waiting.byteLength < chunk.byteLength) break; // cut off since it was opened: the hash will tell
  }
  update(hash, waiting);
  return hash.digest('hex');
}

function update(hash: Hash, chunk: Uint8Array | null): void {
  if (chunk !== null) hash.update(chunk);
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
