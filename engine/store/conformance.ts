import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ArtifactStore } from './artifact-store';

/** What an implementation brings so that its contract can be checked. */
export interface StoreUnderTest {
  readonly store: ArtifactStore;
  /** The same place, opened once more, as another process would. */
  reopen(): Promise<ArtifactStore>;
  /** Overwrites what lies under an artifact's name, as a failing disk would. */
  damageArtifact(sha256: string, content: Uint8Array): Promise<void>;
  /** The same for a record. */
  damageRecord(key: string, content: Uint8Array): Promise<void>;
  /** Names of all that is in quarantine. */
  quarantined(): Promise<readonly string[]>;
  /** Names of what is half-written at the moment. */
  unfinished(): Promise<readonly string[]>;
  close(): Promise<void>;
}

/** Registers the tests that every ArtifactStore has to pass. */
export function describeArtifactStore(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`${name} as an artifact store`, () => {
    let place: StoreUnderTest;
    let store: ArtifactStore;
    let outside: string;

    beforeEach(async () => {
      place = await open();
      store = place.store;
      outside = await mkdtemp(path.join(tmpdir(), 'quantloom-conformance-'));
    });
    afterEach(async () => {
      await place.close();
      await rm(outside, { recursive: true });
    });

    // FIPS 180-2, appendix B.1.
    const ABC = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
    const abc = Buffer.from('abc');
    const absent = sha256('never put');

    test('names content by its SHA-256 and gives it back, also to another process', async () => {
      expect(await store.put(abc)).toBe(ABC);
      expect(Buffer.from(await (await place.reopen()).get(ABC)).toString()).toBe('abc');
      expect(await store.has(ABC)).toBe(true);
    });

    test.each([0, 1, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, (9 << 20) + 5])('keeps %d bytes', async (bytes) => {
      const content = randomBytes(bytes);
      const key = await store.put(content, { durable: false });
      expect(key).toBe(sha256(content));
      const back = await store.get(key);
      expect(back.byteLength).toBe(bytes);
      expect(Buffer.compare(back, content)).toBe(0);
    });

    test('gives content in a buffer of its own, so that any typed array can lie over it', async () => {
      const values = Float64Array.from([1.5, -2, Math.PI]);
      const back = await store.get(await store.put(new Uint8Array(values.buffer)));
      expect(back.byteOffset).toBe(0);
      expect(back.buffer.byteLength).toBe(24);
      expect([...new Float64Array(back.buffer as ArrayBuffer)]).toEqual([1.5, -2, Math.PI]);
    });

    test('takes a view into a larger buffer for what the view shows', async () => {
      expect(await store.put(Buffer.from('xxabcxx').subarray(2, 5))).toBe(ABC);
    });

    test('putting the same content again, and at the same time, changes nothing', async () => {
      const keys = await Promise.all(Array.from({ length: 20 }, (_, i) => store.put(abc, { durable: i % 2 === 0 })));
      expect(new Set(keys)).toEqual(new Set([ABC]));
      expect((await list(store.artifacts())).map((artifact) => artifact.sha256)).toEqual([ABC]);
      expect(await place.unfinished()).toEqual([]);
    });

    test.each([[[]], [[0]], [[3, 5, 7]], [[4 << 20, 1]], [[(5 << 20) + 3, 4 << 20]]])(
      'content of %p bytes that is written and read piece by piece is the same as in one go',
      async (sizes: number[]) => {
        const pieces = sizes.map((size) => randomBytes(size));
        const whole = Buffer.concat(pieces);
        const writer = await store.create({ durable: false });
        for (const piece of pieces) await writer.write(piece);
        expect(await store.has(sha256(whole))).toBe(false);
        expect(await writer.commit()).toBe(sha256(whole));
        await writer.close();
        expect(Buffer.compare(await store.get(sha256(whole)), whole)).toBe(0);

        const reader = await store.open(sha256(whole));
        expect(reader.bytes).toBe(whole.byteLength);
        for (const piece of pieces) {
          const target = new Uint8Array(piece.byteLength);
          await reader.read(target);
          expect(Buffer.compare(target, piece)).toBe(0);
        }
        await reader.finish();
        await reader.close();
        expect(await place.unfinished()).toEqual([]);
      },
    );

    test('what is written piece by piece and not committed leaves nothing', async () => {
      const writer = await store.create();
      await writer.write(abc);
      await writer.close();
      expect(await store.has(ABC)).toBe(false);
      expect(await place.unfinished()).toEqual([]);
    });

    test.each([
      ['one bit', 'abb', 3],
      ['its end', 'ab', 2],
      ['its end, and is read to where it was', 'ab', 3],
      ['nothing but got a byte more', 'abcd', 3],
    ])('content that lost %s is found out when it is read piece by piece', async (_, damaged, bytes) => {
      await store.put(abc);
      await place.damageArtifact(ABC, Buffer.from(damaged));
      const reader = await store.open(ABC);
      const reading = async () => {
        await reader.read(new Uint8Array(bytes));
        await reader.finish();
      };
      await expect(reading()).rejects.toMatchObject({ code: 'ArtifactCorrupt', message: expect.stringContaining(ABC) });
      await reader.close();
      expect(await place.quarantined()).toHaveLength(1);
      await expect(store.open(ABC)).rejects.toMatchObject({ code: 'ArtifactMissing' });
    });

    test('an artifact that was never put is missing', async () => {
      expect(await store.has(absent)).toBe(false);
      await expect(store.get(absent)).rejects.toMatchObject({
        code: 'ArtifactMissing',
        message: expect.stringContaining(absent),
      });
      await expect(store.exportTo(absent, path.join(outside, 'x'))).rejects.toMatchObject({ code: 'ArtifactMissing' });
      expect(await readdir(outside)).toEqual([]);
    });

    test('remove makes an artifact missing and does not mind one that is missing already', async () => {
      await store.put(abc);
      await store.remove(ABC);
      await store.remove(ABC);
      expect(await store.has(ABC)).toBe(false);
    });

    test('what is recycled is missing, and what is written in its room is whole', async () => {
      const old = Buffer.alloc(3_000_000, 'old');
      const first = await store.put(old, { durable: false });
      await store.recycle(first);
      await store.recycle(first);
      expect(await store.has(first)).toBe(false);
      for (const content of [Buffer.from('abc'), Buffer.alloc(3_000_000, 'new'), Buffer.alloc(4_000_000, 'more')]) {
        const writer = await store.create({ durable: false, bytes: 3_000_000 });
        await writer.write(content);
        const written = await writer.commit();
        await writer.close();
        expect(written).toBe(sha256(content));
        expect(Buffer.from(await store.get(written)).equals(content)).toBe(true);
        await store.recycle(written);
      }
    });

    test('what is recycled and written over while it is read is whole or missing, never taken for what it was', async () => {
      const old = Buffer.alloc(3_000_000, 'old');
      const sha256 = await store.put(old, { durable: false });
      const again = await place.reopen();
      for (const reading of [store, again]) {
        await store.put(old, { durable: false });
        const reader = await reading.open(sha256);
        const read = Buffer.alloc(3_000_000);
        await reader.read(read.subarray(0, 1_000_000));
        await store.recycle(sha256);
        await store.put(Buffer.alloc(3_000_000, 'new'), { durable: false });
        const failure = await reader
          .read(read.subarray(1_000_000))
          .then(() => reader.finish())
          .catch((error: unknown) => error);
        if (failure === undefined) expect(read.equals(old)).toBe(true);
        else expect(failure).toMatchObject({ code: 'ArtifactMissing' });
        await reader.close();
      }
    });

    test.each([
      ['one bit', Buffer.from('abb')],
      ['its end', Buffer.from('ab')],
      ['everything', Buffer.alloc(0)],
      ['nothing but got a byte more', Buffer.from('abcd')],
    ])(
      'content that lost %s is quarantined, reported with both hashes, and missing from then on',
      async (_, damaged) => {
        await store.put(abc);
        await place.damageArtifact(ABC, damaged);
        const failure = await store.get(ABC).catch((error: unknown) => error);
        expect(failure).toMatchObject({ code: 'ArtifactCorrupt', message: expect.stringContaining(ABC) });
        expect(failure).toMatchObject({ message: expect.stringContaining(sha256(damaged)) });
        expect(await place.quarantined()).toHaveLength(1);
        expect(await store.has(ABC)).toBe(false);
        await expect(store.get(ABC)).rejects.toMatchObject({ code: 'ArtifactMissing' });
        await store.put(abc);
        expect(Buffer.from(await store.get(ABC)).toString()).toBe('abc');
      },
    );

    test('putting the right content over damaged content heals it', async () => {
      await store.put(abc);
      await place.damageArtifact(ABC, Buffer.from('abd'));
      await store.put(abc);
      expect(Buffer.from(await store.get(ABC)).toString()).toBe('abc');
    });

    test('exports content as an independent file, over what was there', async () => {
      const target = path.join(outside, 'weights.bin');
      await writeFile(target, 'an older file');
      await store.put(abc);
      await store.exportTo(ABC, target);
      expect(await readFile(target, 'utf8')).toBe('abc');
      await writeFile(target, 'edited');
      expect(Buffer.from(await store.get(ABC)).toString()).toBe('abc');
      expect(await readdir(outside)).toEqual(['weights.bin']);
    });

    test('never exports damaged content', async () => {
      await store.put(abc);
      await place.damageArtifact(ABC, Buffer.from('abd'));
      await expect(store.exportTo(ABC, path.join(outside, 'x'))).rejects.toMatchObject({ code: 'ArtifactCorrupt' });
      expect(await readdir(outside)).toEqual([]);
      expect(await store.has(ABC)).toBe(false);
    });

    test('exporting into a directory that does not exist says what to check', async () => {
      await store.put(abc);
      await expect(store.exportTo(ABC, path.join(outside, 'no', 'x'))).rejects.toMatchObject({
        code: 'OutputUnwritable',
        message: expect.stringContaining(path.join(outside, 'no', 'x')),
      });
    });

    test('lists artifacts with their sizes and times', async () => {
      await store.put(abc);
      await store.put(Buffer.alloc(1000));
      const found = await list(store.artifacts());
      expect(new Map(found.map(({ sha256, bytes }) => [sha256, bytes]))).toEqual(
        new Map([
          [ABC, 3],
          [sha256(Buffer.alloc(1000)), 1000],
        ]),
      );
      for (const { modified } of found) expect(Math.abs(Date.now() - modified.getTime())).toBeLessThan(60_000);
    });

    const key = sha256('a key');

    test('keeps the first record of a key', async () => {
      expect(await store.recall(key)).toBeNull();
      expect(await store.record(key, { first: [1, 'ä', null], nested: { sha256: ABC } })).toBe('stored');
      expect(await store.record(key, { second: true })).toBe('existed');
      expect(await (await place.reopen()).recall(key)).toEqual({ first: [1, 'ä', null], nested: { sha256: ABC } });
      expect(await place.unfinished()).toEqual([]);
    });

    test('of records put at the same time exactly one is stored, and all readers see that one', async () => {
      const other = await place.reopen();
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, async (_, writer) => ({
          writer,
          outcome: await (writer % 2 === 0 ? store : other).record(key, { writer }),
        })),
      );
      const winners = outcomes.filter(({ outcome }) => outcome === 'stored').map(({ writer }) => ({ writer }));
      expect(winners).toHaveLength(1);
      expect(await store.recall(key)).toEqual(winners[0]);
      expect(await other.recall(key, { peek: true })).toEqual(winners[0]);
    });

    test.each(['', '{"cut":', 'null'])(
      'a record that was damaged into %j is quarantined and counts as absent',
      async (text) => {
        await store.record(key, { a: 1 });
        await place.damageRecord(key, Buffer.from(text));
        expect(await store.recall(key)).toBeNull();
        expect(await place.quarantined()).toHaveLength(1);
        expect(await store.record(key, { a: 2 })).toBe('stored');
        expect(await store.recall(key)).toEqual({ a: 2 });
      },
    );

    test('forgets a record, lists those that are left', async () => {
      const kept = sha256('another key');
      await store.record(key, 1);
      await store.record(kept, 2);
      await store.forget(key);
      await store.forget(key);
      expect(await store.recall(key)).toBeNull();
      const found = await list(store.records());
      expect(found.map((record) => record.key)).toEqual([kept]);
      expect(Math.abs(Date.now() - (found[0]?.modified.getTime() ?? 0))).toBeLessThan(60_000);
    });

    test.each(['', 'abc', ABC.toUpperCase(), `${ABC}0`, `../../${ABC.slice(6)}`])('refuses the key %j', async (bad) => {
      const wrong = { code: 'WrongUse' };
      await expect(store.get(bad)).rejects.toMatchObject(wrong);
      await expect(store.has(bad)).rejects.toMatchObject(wrong);
      await expect(store.remove(bad)).rejects.toMatchObject(wrong);
      await expect(store.exportTo(bad, path.join(outside, 'x'))).rejects.toMatchObject(wrong);
      await expect(store.record(bad, 1)).rejects.toMatchObject(wrong);
      await expect(store.recall(bad)).rejects.toMatchObject(wrong);
      await expect(store.forget(bad)).rejects.toMatchObject(wrong);
    });

    test('refuses a record that is not JSON', async () => {
      await expect(store.record(key, undefined)).rejects.toMatchObject({ code: 'WrongUse' });
      expect(await store.recall(key)).toBeNull();
    });

    test('lets other work run while a large artifact is put, read and exported', async () => {
      const content = randomBytes(96 << 20);
      let turns = 0;
      const ticking = setInterval(() => turns++, 1);
      const digest = await store.put(content, { durable: false });
      const afterPut = turns;
      await store.get(digest);
      const afterGet = turns;
      await store.exportTo(digest, path.join(outside, 'large'));
      clearInterval(ticking);
      expect((await stat(path.join(outside, 'large'))).size).toBe(96 << 20);
      // 24 chunks of 4 MiB each; a call that blocked would let none or one through.
      expect(afterPut).toBeGreaterThan(5);
      expect(afterGet - afterPut).toBeGreaterThan(5);
      expect(turns - afterGet).toBeGreaterThan(5);
    });
  });
}

async function list<T>(entries: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const entry of entries) all.push(entry);
  return all;
}

function sha256(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
