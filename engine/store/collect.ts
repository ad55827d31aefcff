import type { ArtifactStore } from './artifact-store';

export interface CollectOptions {
  /** Records that nobody has used for this long are removed. */
  readonly olderThanMilliseconds: number;
  /** Records that stay whatever their age. Default: none. */
  readonly keep?: (key: string, value: unknown) => boolean;
  /** JSON (an ArtifactRef, a list of them, a plan ...) whose artifacts stay although no record mentions them. Default: none. */
  readonly roots?: readonly unknown[];
  /** What is younger than this is never touched: a job may be running that has not recorded it yet. Default: one hour. */
  readonly spareMilliseconds?: number;
  /** Count only, remove nothing. Default: false. */
  readonly dryRun?: boolean;
}

export interface CollectReport {
  readonly dryRun: boolean;
  readonly recordsKept: number;
  readonly recordsRemoved: number;
  readonly artifactsKept: number;
  readonly artifactsRemoved: number;
  readonly bytesKept: number;
  readonly bytesRemoved: number;
  /** Left half-written by writers that are gone; 0 in a dry run. */
  readonly unfinishedRemoved: number;
}

const HOUR_MILLISECONDS = 3_600_000;

/**
 * Mark and sweep. Marked is every artifact that a kept record mentions: an object with `sha256`, anywhere in the record's JSON, or in
 * the JSON of a `document` artifact that is marked. Removed are records that are too old, then artifacts that are not marked.
 * Records go first, so that being killed half-way leaves no record without its artifacts.
 */
export async function collectGarbage(store: ArtifactStore, options: CollectOptions): Promise<CollectReport> {
  const { olderThanMilliseconds, keep = () => false, roots = [], dryRun = false } = options;
  const spareMilliseconds = options.spareMilliseconds ?? HOUR_MILLISECONDS;
  const now = Date.now();
  const isOlder = (modified: Date, milliseconds: number) => now - modified.getTime() > milliseconds;
  const expires = Math.max(olderThanMilliseconds, spareMilliseconds);

  const marks = new Marks(store);
  for (const root of roots) await marks.add(root);
  let recordsKept = 0;
  let recordsRemoved = 0;
  for await (const { key, modified } of store.records()) {
    const value = await store.recall(key, { peek: true });
    if (isOlder(modified, expires) && !keep(key, value)) {
      if (!dryRun) await store.forget(key);
      recordsRemoved++;
      continue;
    }
    await marks.add(value);
    recordsKept++;
  }

  const kept = { artifacts: 0, bytes: 0 };
  const removed = { artifacts: 0, bytes: 0 };
  for await (const { sha256, bytes, modified } of store.artifacts()) {
    const stays = marks.has(sha256) || !isOlder(modified, spareMilliseconds);
    if (!stays && !dryRun) await store.remove(sha256);
    const count = stays ? kept : removed;
    count.artifacts++;
    count.bytes += bytes;
  }
  const unfinishedRemoved = dryRun ? 0 : await store.removeUnfinished();
  return {
    dryRun,
    recordsKept,
    recordsRemoved,
    artifactsKept: kept.artifacts,
    artifactsRemoved: removed.artifacts,
    bytesKept: kept.bytes,
    bytesRemoved: removed.bytes,
    unfinishedRemoved,
  };
}

class Marks {
  readonly #marked = new Set<string>();
  readonly #read = new Set<string>();

  constructor(private readonly store: ArtifactStore) {}

  has(sha256: string): boolean {
    return this.#marked.has(sha256);
  }

  async add(json: unknown): Promise<void> {
    const open: unknown[] = [json];
    while (open.length > 0) {
      for (const document of this.#mentions(open.pop())) {
        if (this.#read.has(document)) continue;
        this.#read.add(document);
        open.push(await readDocument(this.store, document));
      }
    }
  }

  /** Marks what the JSON mentions. @returns the documents among it. */
  #mentions(json: unknown): string[] {
    if (typeof json !== 'object' || json === null) return [];
    const documents = Object.values(json).flatMap((child) => this.#mentions(child));
    const { sha256, kind } = json as { sha256?: unknown; kind?: unknown };
    if (typeof sha256 !== 'string') return documents;
    this.#marked.add(sha256);
    if (kind === 'document') documents.push(sha256);
    return documents;
  }
}

/** A document that is gone or corrupt mentions nothing. */
async function readDocument(store: ArtifactStore, sha256: string): Promise<unknown> {
  try {
    return JSON.parse(Buffer.from(await store.get(sha256)).toString('utf8'));
  } catch {
    return null;
  }
}
