import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ArtifactKind, ArtifactRef } from '../spec';
import type { ArtifactStore } from './artifact-store';
import { collectGarbage } from './collect';
import { openFileStore } from './file-store';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

jest.setTimeout(30_000);

describe('collectGarbage', () => {
  let directory: string;
  let store: ArtifactStore;
  beforeEach(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'quantloom-collect-'));
    store = await openFileStore(directory);
  });
  afterEach(() => rm(directory, { recursive: true }));

  const keyOf = (name: string) => createHash('sha256').update(name).digest('hex');

  async function put(kind: ArtifactKind, content: string | object, age: number): Promise<ArtifactRef> {
    const bytes = Buffer.from(typeof content === 'string' ? content : JSON.stringify(content));
    const sha256 = await store.put(bytes);
    await makeOlder('objects', sha256, age);
    return { kind, sha256, bytes: bytes.byteLength };
  }
  async function record(name: string, value: unknown, age: number): Promise<void> {
    await store.record(keyOf(name), value);
    await makeOlder('records', keyOf(name), age);
  }
  async function makeOlder(part: string, name: string, age: number): Promise<void> {
    const then = new Date(Date.now() - age);
    await utimes(path.join(directory, part, name.slice(0, 2), name), then, then);
  }
  const has = (ref: ArtifactRef) => store.has(ref.sha256);

  test('removes artifacts that no record mentions, keeps those mentioned anywhere in one', async () => {
    const orphan = await put('activation', 'nobody knows me', DAY);
    const deep = await put('hessian', 'deep', DAY);
    const plain = await put('tokens', 'plain', DAY);
    await record('a', { report: { list: [1, { refs: [deep] }] } }, 2 * HOUR);
    await record('b', plain, 2 * HOUR);
    expect(await collectGarbage(store, { olderThanMilliseconds: 30 * DAY })).toEqual({
      dryRun: false,
      recordsKept: 2,
      recordsRemoved: 0,
      artifactsKept: 2,
      artifactsRemoved: 1,
      bytesKept: 9,
      bytesRemoved: 15,
      unfinishedRemoved: 0,
    });
    expect([await has(orphan), await has(deep), await has(plain)]).toEqual([false, true, true]);
  });

  test('follows documents: what a plan or table mentions stays with it', async () => {
    const layer = await put('layer', 'layer 0', DAY);
    const table = await put('document', { 'model.layers.0': layer }, DAY);
    const plan = await put('document', { table }, DAY);
    await record('plan', [plan], 0);
    await collectGarbage(store, { olderThanMilliseconds: DAY });
    expect([await has(plan), await has(table), await has(layer)]).toEqual([true, true, true]);
  });

  test('a document that two records mention in different ways is followed all the same', async () => {
    const layer = await put('layer', 'layer 0', DAY);
    const table = await put('document', { layer }, DAY);
    await record('a', { sha256: table.sha256 }, 0);
    await record('b', table, 0);
    await collectGarbage(store, { olderThanMilliseconds: DAY });
    expect(await has(layer)).toBe(true);
  });

  test('removes records that are too old and the artifacts that only they mention', async () => {
    const shared = await put('weight', 'shared', 40 * DAY);
    const old = await put('weight', 'only in the old one', 40 * DAY);
    await record('old', { shared, old }, 31 * DAY);
    await record('new', { shared }, 29 * DAY);
    const report = await collectGarbage(store, { olderThanMilliseconds: 30 * DAY });
    expect(report).toMatchObject({ recordsKept: 1, recordsRemoved: 1, artifactsKept: 1, artifactsRemoved: 1 });
    expect([await has(shared), await has(old)]).toEqual([true, false]);
    expect(await store.recall(keyOf('old'))).toBeNull();
  });

  test('collecting is no use: a record that is only collected around grows old', async () => {
    await record('a', 1, 29 * DAY);
    await collectGarbage(store, { olderThanMilliseconds: 30 * DAY });
    await collectGarbage(store, { olderThanMilliseconds: 28 * DAY });
    expect(await store.recall(keyOf('a'))).toBeNull();
  });

  test('keeps what the predicate or a root asks for', async () => {
    const mine = await put('layer', 'mine', 40 * DAY);
    const root = await put('layer', 'root', 40 * DAY);
    await record('mine', { job: 'nightly', mine }, 40 * DAY);
    await record('yours', { job: 'other' }, 40 * DAY);
    const report = await collectGarbage(store, {
      olderThanMilliseconds: DAY,
      keep: (_, value) => (value as { job: string }).job === 'nightly',
      roots: [{ kept: [root] }],
    });
    expect(report).toMatchObject({ recordsKept: 1, recordsRemoved: 1, artifactsKept: 2, artifactsRemoved: 0 });
    expect([await has(mine), await has(root)]).toEqual([true, true]);
  });

  test('never touches what is younger than an hour, whatever age is asked for', async () => {
    const young = await put('activation', 'not recorded yet', 59 * 60_000);
    await record('young', 1, 59 * 60_000);
    const report = await collectGarbage(store, { olderThanMilliseconds: 0 });
    expect(report).toMatchObject({ recordsKept: 1, recordsRemoved: 0, artifactsKept: 1, artifactsRemoved: 0 });
    expect(await has(young)).toBe(true);
    await collectGarbage(store, { olderThanMilliseconds: 0, spareMilliseconds: 0 });
    expect(await has(young)).toBe(false);
  });

  test('a dry run counts the same and removes nothing', async () => {
    await put('activation', 'orphan', DAY);
    await record('old', 1, DAY);
    const options = { olderThanMilliseconds: 2 * HOUR };
    const dry = await collectGarbage(store, { ...options, dryRun: true });
    expect(await readdir(path.join(directory, 'objects'))).toHaveLength(1);
    expect(await store.recall(keyOf('old'), { peek: true })).toBe(1);
    expect({ ...dry, dryRun: false }).toEqual(await collectGarbage(store, options));
  });
});
