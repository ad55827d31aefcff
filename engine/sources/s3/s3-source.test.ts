import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FaultyProxy } from '../../../test/support/faulty-proxy';
import { FIRST_START_MS, type S3Server, setS3Credentials, startS3Server } from '../../../test/support/versitygw';
import { loadS3 } from '../../store';
import { fetchRemote, pinAddress, previewRemote } from '../remote/remote-model';
import type { SourceAccess } from '../remote/source-access';
import { resolveModelDirectory } from '../resolve-model-directory';
import { s3Source } from './s3-source';

const FILES = ['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];
const quick = { backoffMilliseconds: 1 };
const DIGEST = /^[0-9a-f]{64}$/;

let server: S3Server;
let proxy: FaultyProxy;
let models: string;
let access: SourceAccess;
let content: Record<string, Buffer>;
let places = 0;
let address: string;
let bucket: InstanceType<ReturnType<typeof loadS3>['S3Bucket']>;

beforeAll(async () => {
  setS3Credentials();
  server = await startS3Server();
  proxy = await FaultyProxy.start(server.endpoint);
  content = {};
  for (const name of FILES) content[name] = await readFile(join(resolveModelDirectory('demo'), name));
}, FIRST_START_MS);

afterAll(async () => {
  await proxy?.stop();
  await server?.stop();
});

beforeEach(async () => {
  models = await mkdtemp(join(tmpdir(), 'quantloom-s3-models-'));
  access = { models, hub: {}, s3: { endpoint: proxy.endpoint }, stallMilliseconds: 2_000 };
  const prefix = `models-${++places}/demo`;
  address = `s3://${server.bucket}/${prefix}`;
  bucket = new (loadS3().S3Bucket)({ bucket: server.bucket, prefix }, server, 'SourceUnavailable');
  for (const name of FILES) await bucket.put(name, content[name] as Buffer);
  await bucket.put('checkpoints/step-1.bin', Buffer.alloc(9));
  // A neighbour whose name begins alike.
  await new (loadS3().S3Bucket)({ bucket: server.bucket, prefix: `${prefix}-2` }, server, 'SourceUnavailable').put(
    'config.json',
    Buffer.from('{}'),
  );
  proxy.fault = () => 'none';
});

afterEach(() => rm(models, { recursive: true, force: true }));

async function expectWhole(directory: string): Promise<void> {
  expect((await readdir(directory)).sort()).toEqual(FILES);
  for (const name of FILES) expect((await readFile(join(directory, name))).equals(content[name] as Buffer)).toBe(true);
}

test('an address is pinned to what is listed there, planned by headers, and only what is needed is fetched', async () => {
  const pinned = await pinAddress(`${address}/`, access);
  expect(pinned).toBe(await pinAddress(address, access));
  expect(pinned.slice(0, address.length + 1)).toBe(`${address}@`);
  expect(pinned.slice(address.length + 1)).toMatch(DIGEST);
  expect([s3Source.isPinned(address), s3Source.isPinned(pinned)]).toEqual([false, true]);
  const preview = await previewRemote(pinned, access);
  expect((await stat(join(preview, 'model.safetensors'))).size).toBe(content['model.safetensors']?.length);
  expect((await stat(join(preview, 'model.safetensors'))).blocks * 512).toBeLessThan(500_000);
  const directory = await fetchRemote(pinned, access);
  expect(directory).toBe(join(models, 's3', server.bucket, pinned.slice(-64), 'demo'));
  await expectWhole(directory);
});

test('the same files elsewhere have the same pin; another file, size or content has not', async () => {
  const digest = async () => (await pinAddress(address, access)).slice(-64);
  const first = await digest();
  await bucket.put('tokenizer.json', Buffer.from('{}'));
  const second = await digest();
  await bucket.put('tokenizer.json', Buffer.from('[]'));
  const third = await digest();
  await bucket.put('LICENSE', Buffer.from('free'));
  const fourth = await digest();
  expect(new Set([first, second, third, fourth]).size).toBe(4);
  await bucket.remove('LICENSE');
  await bucket.put('tokenizer.json', content['tokenizer.json'] as Buffer);
  expect(await digest()).toBe(first);
});

test('what changes after it was pinned is never taken for what was pinned, whenever it changes', async () => {
  const pinned = await pinAddress(address, access);
  const changed = { code: 'SourceChanged', message: expect.stringContaining('no longer what was pinned') };
  const listed = await s3Source.files(pinned, access);
  const weights = listed.find(({ path }) => path === 'model.safetensors');
  await bucket.put('model.safetensors', Buffer.alloc(content['model.safetensors']?.length ?? 0));
  await expect(weights?.read({ begin: 0 })).rejects.toMatchObject(changed);
  await expect(weights?.read({ begin: 1_000_000, end: 1_000_100 })).rejects.toMatchObject(changed);
  await expect(fetchRemote(pinned, access, quick)).rejects.toMatchObject(changed);
  expect(await readdir(join(models, 's3', server.bucket, pinned.slice(-64)))).not.toContain('demo');
});

test('broken connections go on with the byte that is missing', async () => {
  const pinned = await pinAddress(address, access);
  await previewRemote(pinned, access);
  const faults = ['broken answer', 'cut', { status: 503 }, 'broken answer'] as const;
  let turn = 0;
  const before = proxy.requests.length;
  proxy.fault = ({ path }) => (path.includes('model.safetensors') ? (faults[turn++] ?? 'none') : 'none');
  await expectWhole(await fetchRemote(pinned, access, quick));
  const begins = proxy.requests
    .slice(before)
    .flatMap(({ path, range }) => (path.includes('model.safetensors') ? range : []));
  expect(begins[0]).toBe('bytes=0-');
  expect(Number(/\d+/.exec(begins.at(-1) ?? '')?.[0])).toBeGreaterThan((content['model.safetensors']?.length ?? 0) / 2);
});

test.each([
  ['s3://', 'WrongUse', /names no place in S3\. Write s3:\/\/BUCKET\/PREFIX/],
  ['s3:bucket/model', 'WrongUse', /names no place in S3/],
  ['s3://artifacts/a/../b', 'WrongUse', /names no place in S3/],
  ['s3://artifacts/nothing/here', 'ModelNotFound', /^There is nothing at s3:\/\/artifacts\/nothing\/here\//],
  ['s3://no-such-bucket/model', 'ModelNotFound', /there is no such bucket/],
])('%s is refused: %s', async (place, code, message) => {
  await expect(pinAddress(place, access)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
});
