import { mkdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { ArtifactWriter } from './artifact-store';
import type { SpareFiles } from './spare-files';
import { asStoreFull } from './store-full';
import { HashingWriter, synchronize } from './synchronized-write';
import { fileIdentity } from './verified-read';

interface FileWriterOptions {
  /** Where it is written. */
  readonly temporary: string;
  /** Of the store, for messages. */
  readonly location: string;
  /** Where it goes once its hash is known. */
  readonly objectOf: (sha256: string) => string;
  /** Called when the object is in its place. */
  readonly written: (sha256: string, identity: string) => void;
  readonly durable: boolean;
  /** Files that one which is not durable may be written over. */
  readonly spares: SpareFiles;
  /** That it will have, as far as is known. */
  readonly bytes: number;
}

/** Writes beside the store's objects and moves the file to its place when its name is known. */
export async function createFileWriter(options: FileWriterOptions): Promise<ArtifactWriter> {
  const { temporary, location, durable, spares } = options;
  let bytes = 0;
  /** No room: first the half-written file goes, and what is spare, then the free bytes are looked at. */
  const guarded = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      await rm(temporary, { force: true });
      await spares.clear();
      throw await asStoreFull(error, location, bytes);
    }
  };
  const reused = !durable && (await spares.take(temporary, options.bytes));
  const writer = await guarded(reused ? HashingWriter.over(temporary) : HashingWriter.create(temporary, { durable }));
  let open = true;
  const closeFile = async () => {
    if (!open) return;
    open = false;
    await writer.close();
  };
  const move = async () => {
    if (reused) await writer.end();
    if (durable) await writer.synchronize();
    const { ino: inode } = await stat(temporary, { bigint: true });
    await closeFile();
    const sha256 = writer.sha256();
    const object = options.objectOf(sha256);
    await makeShard(object, durable);
    // Also over what is there already: that may have been damaged, or not be durable.
    await rename(temporary, object);
    if (durable) await synchronize(path.dirname(object));
    const stats = await stat(object, { bigint: true });
    // Somebody else may have put the same content there meanwhile; that file is not known to be right.
    if (stats.ino === inode) options.written(sha256, fileIdentity(stats));
    return sha256;
  };
  return {
    write: (content) => {
      bytes += content.byteLength;
      return guarded(writer.write(content));
    },
    commit: () => guarded(move()),
    close: async () => {
      await closeFile();
      await rm(temporary, { force: true });
    },
  };
}

/** The directory that `file` lies in. */
export async function makeShard(file: string, durable: boolean): Promise<void> {
  const made = await mkdir(path.dirname(file), { recursive: true });
  if (made !== undefined && durable) await synchronize(path.dirname(made));
}
