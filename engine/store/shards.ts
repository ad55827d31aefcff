import { opendir, stat } from 'node:fs/promises';
import path from 'node:path';

export interface ShardEntry {
  /** 64 hexadecimal digits. */
  readonly name: string;
  readonly bytes: number;
  readonly modified: Date;
  /** As far as the file system keeps it. */
  readonly accessed: Date;
}

const SHARD = /^[0-9a-f]{2}$/;
const NAME = /^[0-9a-f]{64}$/;

/** Walks `directory/ab/abcd…`. Files that come or go meanwhile may be listed or not; foreign files are not. */
export async function* listShards(directory: string): AsyncIterable<ShardEntry> {
  for await (const shard of await opendir(directory)) {
    if (!shard.isDirectory() || !SHARD.test(shard.name)) continue;
    for await (const entry of await opendir(path.join(directory, shard.name))) {
      if (!NAME.test(entry.name)) continue;
      const found = await stat(path.join(directory, shard.name, entry.name)).catch(() => null);
      if (found === null) continue;
      yield { name: entry.name, bytes: found.size, modified: found.mtime, accessed: found.atime };
    }
  }
}
