import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { verifyCheckpoint } from '../../engine/checkpoints';
import { loadS3 } from '../../engine/store';
import { demoSpec } from '../support/demo-spec';
import { FaultyProxy } from '../support/faulty-proxy';
import { type JobStack, startJobStack } from '../support/job-stack';
import { runCli } from '../support/run-cli';
import { shortDemo } from '../support/short-demo';
import { FIRST_START_MS, S3_CREDENTIALS, type S3Server, setS3Credentials, startS3Server } from '../support/versitygw';
import { weightDigests } from '../support/weight-files';

const PREFIX = 'team/quantloom';

let server: S3Server;
let proxy: FaultyProxy;
let inFiles: JobStack;
let inBucket: JobStack;
let model: string;

beforeAll(async () => {
  setS3Credentials();
  server = await startS3Server();
  proxy = await FaultyProxy.start(server.endpoint);
  inFiles = await startJobStack();
  model = await shortDemo(inFiles.directory);
  inBucket = await startJobStack({ workers: ['control'], environment: settings() });
  // Two of each, with nothing in common but the bucket.
  for (const machine of ['one', 'other']) {
    const own = { QUANTLOOM_CACHE: join(inBucket.directory, `cache-${machine}`), QUANTLOOM_THREADS: '1' };
    for (const queue of ['cpu', 'gpu'] as const) await inBucket.startWorker(queue, own);
  }
}, FIRST_START_MS);

afterAll(async () => {
  await inBucket?.stop();
  await inFiles?.stop();
  await proxy?.stop();
  await server?.stop();
}, 120_000);

function settings(): Record<string, string> {
  const place = { QUANTLOOM_STORE: `s3://${server.bucket}/${PREFIX}`, QUANTLOOM_S3_ENDPOINT: proxy.endpoint };
  return { ...S3_CREDENTIALS, ...place };
}

async function uploads(): Promise<string[]> {
  const { S3Bucket } = loadS3();
  const bucket = new S3Bucket({ bucket: server.bucket, prefix: PREFIX }, server, 'StoreUnavailable');
  const found: string[] = [];
  for await (const { name } of bucket.uploads('')) found.push(name);
  return found;
}

test('two workers and a bucket that fails now and then write the bytes that one with a directory writes', async () => {
  await inFiles.run(demoSpec(inFiles.output('out'), { model }), 'in-files');

  const faults = ['cut', 'lost answer', { status: 503 }, 'broken answer', { status: 500 }, { delayMs: 200 }] as const;
  let turn = 0;
  // Of every ten requests one; seven and ten have no factor in common, so that every kind of fault meets every kind of request.
  proxy.fault = () => (++turn % 10 === 0 ? (faults[((turn / 10) * 7) % faults.length] ?? 'none') : 'none');
  const result = await inBucket.run(demoSpec(inBucket.output('out'), { model }), 'in-bucket');
  proxy.fault = () => 'none';

  expect(await weightDigests(inBucket.output('out'))).toEqual(await weightDigests(inFiles.output('out')));
  expect((await verifyCheckpoint(inBucket.output('out'))).passed).toBe(true);
  expect(result.computed).toBeGreaterThan(50);
  for (const kind of ['cut', 'lost answer', '503', 'broken answer', '500', 'delay']) {
    expect({ kind, done: proxy.done.get(kind) }).toEqual({ kind, done: expect.any(Number) });
  }
  const working = new Set(inBucket.log.filter(({ event }) => event === 'computed').map(({ pid }) => pid));
  expect(working.size).toBeGreaterThan(2);
  expect(inBucket.log.filter(({ event }) => event === 'activity-failed')).toEqual([]);
  expect(await uploads()).toEqual([]);
}, 300_000);

test('what the bucket holds is found again by a job, and by workers that have seen nothing of it', async () => {
  const empty = join(inBucket.directory, 'cache-empty');
  const before = inBucket.log.length;
  await inBucket.startWorker('cpu', { QUANTLOOM_CACHE: empty });
  const again = await inBucket.run(demoSpec(inBucket.output('again'), { model }), 'again');
  expect(inBucket.log.slice(before).filter(({ event }) => event === 'computed')).toHaveLength(1);
  expect(again.computed).toBeLessThan(2);
  expect(await weightDigests(inBucket.output('again'))).toEqual(await weightDigests(inFiles.output('out')));
}, 300_000);

test('quantloom gc collects in a bucket; plan knows that it is no directory', async () => {
  const place = {
    home: await mkdtemp(join(tmpdir(), 'quantloom-s3-home-')),
    workingDirectory: inBucket.directory,
    environment: settings(),
  };
  try {
    const collected = await runCli(['gc', '--dry-run', '--json'], place);
    expect(JSON.parse(collected.stdout)).toMatchObject({
      store: `s3://${server.bucket}/${PREFIX}`,
      recordsRemoved: 0,
      recordsKept: expect.any(Number),
    });
    expect(JSON.parse(collected.stdout).recordsKept).toBeGreaterThan(50);
    const plan = await runCli(['plan', 'demo', '--out', 'planned'], place);
    expect(plan.stdout).toContain(`needed, in s3://${server.bucket}/${PREFIX}`);
    const nowhere = { ...place, environment: { ...settings(), QUANTLOOM_STORE: 's3://nowhere/x' } };
    const refused = await runCli(['gc'], nowhere);
    expect({ code: refused.code, stderr: refused.stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/s3:\/\/nowhere\/x at http.*there is no such bucket/),
    });
  } finally {
    await rm(place.home, { recursive: true, force: true });
  }
}, 120_000);

test('a model in a bucket is planned by its headers, pinned, and quantized to the same bytes', async () => {
  const { S3Bucket } = loadS3();
  const prefix = 'models/demo';
  const models = new S3Bucket({ bucket: server.bucket, prefix }, server, 'SourceUnavailable');
  for (const name of [
    'config.json',
    'generation_config.json',
    'tokenizer.json',
    'tokenizer_config.json',
    'model.safetensors',
  ])
    await models.put(name, await readFile(join(model, name)));
  const output = inBucket.output('from-bucket');
  await inBucket.run(demoSpec(output, { model: `s3://${server.bucket}/${prefix}` }), 'from-bucket');
  expect(await weightDigests(output)).toEqual(await weightDigests(inFiles.output('out')));
  const manifest = JSON.parse(await readFile(join(output, 'quantloom.json'), 'utf8'));
  expect(manifest.source.address).toMatch(/^s3:\/\/artifacts\/models\/demo@[0-9a-f]{64}$/);
}, 300_000);
