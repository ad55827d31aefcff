/**
 * Content-addressed storage of artifacts, and of the records that say which artifacts a computation produced.
 *
 * Contract, checked by the conformance suite that every implementation passes (`conformance.ts`):
 * - `put` is idempotent and atomic: a reader sees the whole content or nothing, whatever is killed when.
 * - `get` verifies the SHA-256 of what it read. A mismatch moves the content into quarantine and throws ArtifactCorrupt; from
 *   then on the artifact is missing.
 * - `record` keeps the first record that is put under a key and never changes it.
 * - No room left: QuantloomError StoreFull (retryable) naming the place, bytes needed and bytes free; nothing half-written remains.
 */
export interface ArtifactStore {
  /** Where it is, for messages: a directory or `s3://bucket/prefix`. */
  readonly location: string;

  /** @returns the SHA-256 of the content. `durable: false` (activations) spares the fsync: a loss is recomputed. */
  put(content: Uint8Array, options?: { readonly durable?: boolean }): Promise<string>;

  /** @throws QuantloomError ArtifactMissing, ArtifactCorrupt. */
  get(sha256: string): Promise<Uint8Array>;

  /**
   * Content piece by piece, in memory of the caller's: what is read is not known to be right before `finish`.
   *
   * @throws QuantloomError ArtifactMissing.
   */
  open(sha256: string): Promise<ArtifactReader>;

  /** An artifact that is written piece by piece; nothing is there before `commit`. `bytes`: that it will have, as far as is known. */
  create(options?: { readonly durable?: boolean; readonly bytes?: number }): Promise<ArtifactWriter>;

  /** Presence only, content not verified. */
  has(sha256: string): Promise<boolean>;

  /** Removes an artifact; no error if there is none. */
  remove(sha256: string): Promise<void>;

  /** As `remove`; what is written next may take its room at once. */
  recycle(sha256: string): Promise<void>;

  /** Makes the artifact's content appear at `path` (verified, by reflink or copy, never a hard link: outputs may be edited). */
  exportTo(sha256: string, path: string): Promise<void>;

  /** @returns `stored`, or `existed` when the key already had a record (which stays). */
  record(key: string, value: unknown): Promise<'stored' | 'existed'>;

  /**
   * The record of a key, or null. A record that cannot be parsed is quarantined and counts as absent.
   * A recall counts as use: `modified` moves to now (to the accuracy of some minutes, where the place allows it), so that garbage
   * is collected by last use. `peek: true` only looks.
   */
  recall(key: string, options?: { readonly peek?: boolean }): Promise<unknown | null>;

  /** Removes a record; no error if there is none. */
  forget(key: string): Promise<void>;

  /** All artifacts, in no order. */
  artifacts(): AsyncIterable<StoredArtifact>;

  /** All keys that have a record, in no order. */
  records(): AsyncIterable<{ readonly key: string; readonly modified: Date }>;

  /**
   * Removes what writers left half-written that are gone, or that began longer ago than any writer takes.
   *
   * @param olderThanMilliseconds what counts as longer, where nothing else tells whether a writer is gone. Default: a day.
   * @returns how many.
   */
  removeUnfinished(olderThanMilliseconds?: number): Promise<number>;
}

/** Reads an artifact from its beginning to its end. One call at a time. */
export interface ArtifactReader {
  readonly bytes: number;
  /** Fills `target` with what comes next. @throws QuantloomError ArtifactCorrupt when the content ends before. */
  read(target: Uint8Array): Promise<void>;
  /** After the last byte: verifies the SHA-256. @throws QuantloomError ArtifactCorrupt, as `get` does. */
  finish(): Promise<void>;
  /** Lets go of it, finished or not. */
  close(): Promise<void>;
}

/** Writes an artifact. One call at a time. */
export interface ArtifactWriter {
  /** The content may be changed again once the promise has settled. @throws QuantloomError StoreFull. */
  write(content: Uint8Array): Promise<void>;
  /** Makes the artifact appear. @returns its SHA-256. @throws QuantloomError StoreFull. */
  commit(): Promise<string>;
  /** Lets go of it; what was not committed vanishes. */
  close(): Promise<void>;
}

export interface StoredArtifact {
  readonly sha256: string;
  readonly bytes: number;
  readonly modified: Date;
}
