import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { FaultyProxy } from '../../../test/support/faulty-proxy';
import { FIRST_START_MS, type S3Server, setS3Credentials, startS3Server } from '../../../test/support/versitygw';
import { ArtifactCache } from '../artifact-cache';
import type { ArtifactStore } from '../artifact-store';
import { describeArtifactStore } from '../conformance';
import type { S3Access } from './s3-access';
import { S3Bucket } from './s3-bucket';
import { S3Store } from './s3-store';

jest.setTimeout(60_000);

const CACHE_BYTES = 1 << 30;
let server: S3Server;
let places = 0;
const directories: string[] = [];

beforeAll(async () => {
  setS3Credentials();
  server = await startS3Server();
}, FIRST_START_MS);

afterAll(async () => {
  await server?.stop();
  for (const directory of directories) await rm(directory, { recursive: true, force: true });
});

interface Place {
  readonly prefix: string;
  readonly bucket: S3Bucket;
  readonly cacheDirectory: string;
  open(options?: {
    readonly cacheBytes?: number;
    readonly cacheDirectory?: string;
    readonly sought?: (found: boolean) => void;
  }): Promise<ArtifactStore>;
}

async function newPlace({ cacheBytes, ...access }: { readonly cacheBytes: number } & S3Access): Promise<Place> {
  const prefix = `place/${++places}`;
  const cacheDirectory = await newDirectory();
  const open: Place['open'] = async (options = {}) =>
    S3Store.open(
      new S3Bucket({ bucket: server.bucket, prefix }, { ...quick(), ...access }, 'StoreUnavailable'),
      await ArtifactCache.open({
        directory: options.cacheDirectory ?? cacheDirectory,
        bytes: options.cacheBytes ?? cacheBytes,
      }),
      options.sought,
    );
  // Past the proxy.
  const bucket = new S3Bucket({ bucket: server.bucket, prefix }, { endpoint: server.endpoint }, 'StoreUnavailable');
  return { prefix, bucket, cacheDirectory, open };
}

const quick = (): S3Access => ({ endpoint: server.endpoint, stallMilliseconds: 2_000 });

async function newDirectory(): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), 'quantloom-s3-cache-'));
  directories.push(directory);
  return directory;
}

async function list<T>(entries: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const entry of entries) all.push(entry);
  return all;
}

function sha256(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}

const shard = (part: string, name: string) => `${part}/${name.slice(0, 2)}/${name}`;

describe.each([
  ['a bucket', 0],
  ['a bucket behind a cache', CACHE_BYTES],
])('%s', (name, cacheBytes) => {
  describeArtifactStore(name, async () => {
    const { bucket, cacheDirectory, open } = await newPlace({ cacheBytes });
    return {
      store: await open(),
      reopen: () => open(),
      async damageArtifact(digest, content) {
        await bucket.put(shard('objects', digest), content);
        if (cacheBytes > 0) await writeFile(path.join(cacheDirectory, shard('objects', digest)), content);
      },
      damageRecord: (key, content) => bucket.put(shard('records', key), content),
      quarantined: async () => (await list(bucket.list('quarantine/'))).map((object) => object.name),
      unfinished: async () => [
        ...(await list(bucket.uploads(''))).map((upload) => upload.name),
        ...(await readdir(path.join(cacheDirectory, 'tmp'))),
        ...(await readdir(path.join(cacheDirectory, 'locks'))),
      ],
      close: async () => undefined,
    };
  });
});

describe('a store in a bucket', () => {
  test('a recall counts as use, a peek does not', async () => {
    const { open, prefix } = await newPlace({ cacheBytes: 0 });
    const store = await open();
    const key = sha256('key');
    await store.record(key, { a: 1 });
    const file = server.file(`${prefix}/${shard('records', key)}`);
    const yesterday = new Date(Date.now() - 86_400_000);
    await utimes(file, yesterday, yesterday);
    await store.recall(key, { peek: true });
    expect((await stat(file)).mtime).toEqual(yesterday);
    expect(await store.recall(key)).toEqual({ a: 1 });
    expect(Date.now() - (await stat(file)).mtimeMs).toBeLessThan(60_000);
    expect(await store.recall(key)).toEqual({ a: 1 });
  });

  test('what a killed writer has sent of an artifact is removed when it is old', async () => {
    const { open, bucket, prefix } = await newPlace({ cacheBytes: 0 });
    const store = await open();
    const { CreateMultipartUploadCommand, S3Client } = await import('@aws-sdk/client-s3');
    const client = new S3Client({ endpoint: server.endpoint, forcePathStyle: true });
    const Key = `${prefix}/${shard('objects', sha256('never ended'))}`;
    await client.send(new CreateMultipartUploadCommand({ Bucket: server.bucket, Key }));
    expect(await store.removeUnfinished()).toBe(0);
    expect(await list(bucket.uploads(''))).toHaveLength(1);
    expect(await store.removeUnfinished(0)).toBe(1);
    expect(await list(bucket.uploads(''))).toEqual([]);
  });

  test.each([
    ['a bucket that is not there', { bucket: 'nowhere' }, {}, 'StoreUnavailable', /s3:\/\/nowhere\/x .*no such bucket/],
    ['wrong credentials', {}, { AWS_SECRET_ACCESS_KEY: 'wrong' }, 'AccessDenied', /Check the credentials/],
  ])('%s: the error says what to do', async (_, address, environment, code, message) => {
    setS3Credentials(environment);
    try {
      const place = { bucket: server.bucket, prefix: 'x', ...address };
      const bucket = new S3Bucket(place, { endpoint: server.endpoint }, 'StoreUnavailable');
      const opening = S3Store.open(bucket, await ArtifactCache.open({ directory: await newDirectory(), bytes: 0 }));
      await expect(opening).rejects.toMatchObject({ code, message: expect.stringMatching(message), retryable: false });
    } finally {
      setS3Credentials();
    }
  });
});

describe('the cache in front of a bucket', () => {
  const content = randomBytes(20 << 20);
  let proxy: FaultyProxy;
  let place: Place;
  beforeEach(async () => {
    proxy = await FaultyProxy.start(server.endpoint);
    place = await newPlace({ cacheBytes: CACHE_BYTES, endpoint: proxy.endpoint });
  });
  afterEach(() => proxy.stop());

  const fetched = () => proxy.requests.filter(({ method, range }) => method === 'GET' && range !== undefined).length;
  const pieces = Math.ceil(content.length / (8 << 20));

  async function read(store: ArtifactStore, digest: string): Promise<Buffer> {
    const reader = await store.open(digest);
    const target = Buffer.alloc(reader.bytes);
    await reader.read(target);
    await reader.finish();
    await reader.close();
    return target;
  }

  test('what was written here is not fetched, what is read twice is fetched once, also by several processes', async () => {
    const writer = await place.open();
    const digest = await writer.put(content);
    await writer.get(digest);
    expect(fetched()).toBe(0);

    const elsewhere = { cacheDirectory: await newDirectory() };
    const [one, other] = [await place.open(elsewhere), await place.open(elsewhere)];
    const all = await Promise.all([one.get(digest), read(one, digest), read(other, digest), other.get(digest)]);
    for (const found of all) expect(Buffer.compare(found, content)).toBe(0);
    await one.exportTo(digest, path.join(elsewhere.cacheDirectory, 'exported'));
    expect(fetched()).toBe(pieces);
  });

  test('it is told which artifacts were there, once for each that somebody wants', async () => {
    const sought: boolean[] = [];
    const digest = await (await place.open()).put(content);
    const elsewhere = await place.open({ cacheDirectory: await newDirectory(), sought: (found) => sought.push(found) });
    await elsewhere.get(digest);
    await elsewhere.get(digest);
    await read(elsewhere, digest);
    expect(sought).toEqual([false, true, true]);
  });

  test('opening fetches nothing before something is read', async () => {
    const digest = await (await place.open()).put(content);
    const other = await place.open({ cacheDirectory: await newDirectory() });
    await (await other.open(digest)).close();
    expect(fetched()).toBe(0);
  });

  test('a copy that was damaged is fetched again', async () => {
    const store = await place.open();
    const digest = await store.put(content);
    for (const use of [(again: ArtifactStore) => again.get(digest), (again: ArtifactStore) => read(again, digest)]) {
      await writeFile(path.join(place.cacheDirectory, shard('objects', digest)), randomBytes(content.length));
      expect(Buffer.compare(await use(store), content)).toBe(0);
      expect(Buffer.compare(await use(await place.open()), content)).toBe(0);
    }
    expect(fetched()).toBe(2 * pieces);
  });

  test('keeps what was used last within its bound, and reads on what has been removed', async () => {
    const bytes = 1 << 20;
    const store = await place.open({ cacheBytes: 10 * bytes });
    const first = await store.put(randomBytes(bytes));
    const reader = await store.open(first);
    const kept = () => readdir(path.join(place.cacheDirectory, 'objects'), { recursive: true, withFileTypes: true });
    const names = async () => (await kept()).filter((entry) => entry.isFile()).map((entry) => entry.name);
    let used = '';
    for (let written = 0; written < 30; written++) {
      const digest = await store.put(randomBytes(bytes));
      // Dates of use are kept to the second at least.
      const long = new Date(Date.now() - (100 - written) * 60_000);
      await utimes(path.join(place.cacheDirectory, shard('objects', digest)), long, long);
      if (written === 3) used = digest;
      if (written > 3) await store.get(used);
      expect((await names()).length).toBeLessThanOrEqual(10);
    }
    expect(await names()).toContain(used);
    expect((await names()).length).toBeGreaterThan(7);
    const target = new Uint8Array(bytes);
    await reader.read(target);
    await reader.close();
    expect(sha256(target)).toBe(first);
  });
});

describe('a bucket that is hard to reach', () => {
  test('errors, cut connections, lost answers and delays: everything goes through, and nothing half-written remains', async () => {
    const proxy = await FaultyProxy.start(server.endpoint);
    try {
      const { open, bucket } = await newPlace({ cacheBytes: 0, endpoint: proxy.endpoint });
      const store = await open();
      // Every fault meets every kind of request.
      const faults = [
        'lost answer',
        'cut',
        { status: 503 },
        'broken answer',
        { status: 500 },
        { delayMs: 150 },
      ] as const;
      const turns = new Map<string, number>();
      proxy.fault = ({ method, path: asked }) => {
        const kind = `${method} ${/[?&](uploads|partNumber|uploadId|list-type)/.exec(asked)?.[1] ?? ''}`;
        const turn = turns.get(kind) ?? 0;
        turns.set(kind, turn + 1);
        return turn % 3 === 0 ? (faults[(turn / 3) % faults.length] ?? 'none') : 'none';
      };
      for (let round = 0; round < 6; round++) {
        const large = randomBytes((40 << 20) + round);
        const digest = await store.put(large);
        expect(Buffer.compare(await store.get(digest), large)).toBe(0);
        const writer = await store.create();
        await writer.write(large.subarray(0, 35 << 20));
        const piecewise = await writer.commit();
        await writer.close();
        expect(piecewise).toBe(sha256(large.subarray(0, 35 << 20)));
        const small = await store.put(randomBytes(1000));
        expect(await store.has(small)).toBe(true);
        const key = sha256(`record ${round}`);
        expect(await store.record(key, { round })).toBe('stored');
        expect(await store.record(key, { round: -1 })).toBe('existed');
        expect(await store.recall(key)).toEqual({ round });
        await store.remove(small);
        expect(await store.has(small)).toBe(false);
      }
      expect(await list(store.artifacts())).toHaveLength(12);
      const kinds = ['lost answer', 'cut', '503', 'broken answer', '500', 'delay'];
      for (const kind of kinds) expect(proxy.done.get(kind)).toBeGreaterThan(3);
      expect(await list(bucket.uploads(''))).toEqual([]);
    } finally {
      await proxy.stop();
    }
  }, 300_000);

  test('a server that is gone: the error can be tried again, and names the place', async () => {
    const proxy = await FaultyProxy.start(server.endpoint);
    const { open, bucket } = await newPlace({ cacheBytes: 0, endpoint: proxy.endpoint, attempts: 3 });
    const store = await open();
    proxy.fault = ({ path: asked }) => (/partNumber=2/.test(asked) ? { status: 500 } : 'none');
    await expect(store.put(randomBytes(40 << 20))).rejects.toMatchObject({
      code: 'StoreUnavailable',
      retryable: true,
      message: expect.stringMatching(/^s3:\/\/artifacts\/place\/\d+ at http:.* \(500 InternalError/),
    });
    expect(await list(bucket.uploads(''))).toEqual([]);
    await proxy.stop();
  }, 120_000);
});
