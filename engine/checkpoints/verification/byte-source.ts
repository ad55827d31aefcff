import { open } from 'node:fs/promises';

/** Bytes that are read from where they are asked for. */
export interface ByteSource {
  /** Bytes. */
  readonly size: number;
  /** @throws Error when there are fewer. */
  read(begin: number, end: number): Promise<Buffer>;
  close(): Promise<void>;
}

/** One read call returns at most 2 GiB. */
const READ_BYTES = 1 << 30;

/** The bytes of a file. */
export async function openBytes(path: string): Promise<ByteSource> {
  const handle = await open(path, 'r');
  const stats = await handle.stat().catch(async (error: unknown) => {
    await handle.close();
    throw error;
  });
  return {
    size: stats.size,
    close: () => handle.close(),
    async read(begin, end) {
      const buffer = Buffer.allocUnsafe(end - begin);
      let done = 0;
      while (done < buffer.length) {
        const { bytesRead } = await handle.read(buffer, done, Math.min(READ_BYTES, buffer.length - done), begin + done);
        if (bytesRead === 0) throw tooShort(begin + done, end);
        done += bytesRead;
      }
      return buffer;
    },
  };
}

/** Bytes in memory; what is read are views. */
export function bytesInMemory({ buffer, byteOffset, byteLength }: Uint8Array): ByteSource {
  return {
    size: byteLength,
    close: async () => undefined,
    async read(begin, end) {
      if (end > byteLength) throw tooShort(byteLength, end);
      return Buffer.from(buffer, byteOffset + begin, end - begin);
    },
  };
}

function tooShort(end: number, expected: number): Error {
  return new Error(`the file ends at byte ${end}, ${expected} were expected`);
}
