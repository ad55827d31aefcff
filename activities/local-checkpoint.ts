import { createReadStream } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isBucketOutput, MANIFEST_FILE, type OutputFile } from '../engine/checkpoints';
import { type ArtifactRef, QuantloomError } from '../engine/spec';
import { readDocument } from './model-view';
import type { ActivityRuntime, Attempt } from './runtime';
import { stagingDirectory } from './staging-directory';
import { readingBench } from './step';

/** What another worker needs to have a checkpoint on its own disk. */
export interface StagedCheckpoint {
  /** Where it lies; where the output is a bucket, below what {@link stagingRoot} is on every worker. */
  readonly directory: string;
  /** Document: OutputFile[], all of which are in the store. Absent: workers share the directory. */
  readonly files?: ArtifactRef;
}

/** Where checkpoints are put together: beside an output that is a directory; for a bucket on the worker's own disk. */
export function stagingRoot(output: string, job: string, { sources }: Pick<ActivityRuntime, 'sources'>): string {
  if (!isBucketOutput(output)) return stagingDirectory(output, job);
  if (!sources) throw new QuantloomError('UnsupportedInput', `${output}: this worker has no directory to work in.`);
  return stagingDirectory(join(sources.models, '.outputs', 'staged'), job);
}

/** Puts the files of a finished checkpoint into the store, most of which are there. @returns document: OutputFile[]. */
export async function storeFiles(
  directory: string,
  files: readonly OutputFile[],
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<ArtifactRef> {
  const { store } = runtime;
  for (const { name, sha256 } of files) {
    attempt.signal.throwIfAborted();
    if (await store.has(sha256)) continue;
    const writer = await store.create();
    try {
      for await (const piece of createReadStream(join(directory, name), { highWaterMark: 1 << 20 })) {
        await writer.write(piece);
      }
      await writer.commit();
    } finally {
      await writer.close();
    }
  }
  const content = Buffer.from(JSON.stringify(files));
  return { kind: 'document', sha256: await store.put(content), bytes: content.byteLength };
}

/** The directory of a checkpoint on this machine: what of it is not here is taken from the store. */
export async function localCheckpoint(
  { directory, files }: StagedCheckpoint,
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<string> {
  if (!files) return directory;
  const root = dirname(stagingRoot('s3://any/where', '', runtime));
  const local = join(root, directory);
  const bench = readingBench(runtime, attempt);
  for (const { name, bytes, sha256 } of await readDocument<OutputFile[]>(files, runtime, attempt)) {
    const path = join(local, name);
    const present = await stat(path).catch(() => null);
    // An attempt before this one may have completed the manifest.
    if (present?.size === bytes && name !== MANIFEST_FILE) continue;
    await mkdir(dirname(path), { recursive: true });
    const ref = { kind: 'layer', sha256, bytes } as const;
    await bench.withArtifacts([ref], () => runtime.store.exportTo(sha256, path));
  }
  return local;
}
