import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MANIFEST_FILE, parseManifest, serializeManifest, verifyCheckpoint } from '../../engine/checkpoints';
import { discardFromBucket, publishToBucket } from '../../engine/checkpoints/bucket-output';
import { planModel } from '../../engine/planning';
import { parseQuantizationSpec, type QuantizationSpecInput } from '../../engine/spec';
import { loadS3 } from '../../engine/store';
import { demoSpec } from '../support/demo-spec';
import { FaultyProxy } from '../support/faulty-proxy';
import { type JobStack, startJobStack } from '../support/job-stack';
import { runCli } from '../support/run-cli';
import { shortDemo } from '../support/short-demo';
import { until } from '../support/until';
import { FIRST_START_MS, S3_CREDENTIALS, type S3Server, setS3Credentials, startS3Server } from '../support/versitygw';
import { weightDigests } from '../support/weight-files';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

let server: S3Server;
let proxy: FaultyProxy;
let root: string;
let model: string;

beforeAll(async () => {
  setS3Credentials();
  server = await startS3Server();
  proxy = await FaultyProxy.start(server.endpoint);
  root = await mkdtemp(join(tmpdir(), 'quantloom-s3-output-'));
  model = await shortDemo(root);
}, FIRST_START_MS);

afterAll(async () => {
  await proxy?.stop();
  await server?.stop();
  await rm(root, { recursive: true, force: true });
}, 60_000);

const at = (prefix: string) => `s3://${server.bucket}/${prefix}`;
const bucketAt = (prefix: string) => {
  const { S3Bucket } = loadS3();
  return new S3Bucket({ bucket: server.bucket, prefix }, server, 'StoreUnavailable');
};
async function namesIn(prefix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of bucketAt(prefix).list('')) names.push(name);
  return names.sort();
}
async function uploadsIn(prefix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of bucketAt(prefix).uploads('')) names.push(name);
  return names;
}

describe('a checkpoint that is uploaded', () => {
  let directory: string;
  const BIG = 'big.bin';
  const publication = (output: string, changes: object = {}) => ({
    ...{ output, checkpoints: [{ directory, place: '' }], job: 'one', overwrite: false },
    ...changes,
  });

  beforeAll(async () => {
    const output = join(root, 'local');
    const made = await quantizeDirect(demoSpec(output, { model, recipe: { method: 'rtn', bits: 4, groupSize: 64 } }));
    directory = made.gptq as string;
    // In several parts.
    const content = randomBytes(40 << 20);
    await writeFile(join(directory, BIG), content);
    const manifest = parseManifest(await readFile(join(directory, MANIFEST_FILE), 'utf8'));
    const sha256 = createHash('sha256').update(content).digest('hex');
    const files = [...manifest.files, { name: BIG, bytes: content.length, sha256 }];
    await writeFile(join(directory, MANIFEST_FILE), serializeManifest({ ...manifest, files }));
  }, 120_000);

  it('killed in the middle it has no manifest; the next attempt goes on, and leaves no parts behind', async () => {
    const prefix = 'killed';
    // The last part never arrives.
    proxy.fault = ({ path }) => (path.includes('partNumber=3') ? { delayMs: 3_600_000 } : 'none');
    const program = `
      const { publishToBucket } = require(${JSON.stringify(join(__dirname, '../../dist/engine/checkpoints'))});
      publishToBucket(${JSON.stringify(publication(at(prefix)))}, { endpoint: ${JSON.stringify(proxy.endpoint)} });`;
    const child = spawn(process.execPath, ['-e', program], {
      stdio: 'inherit',
      env: { ...process.env, ...S3_CREDENTIALS },
    });
    await until(async () => proxy.count('PUT', /partNumber=2/) > 0 && (await uploadsIn(prefix)).length === 1);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const first = await namesIn(prefix);
    expect(first).not.toContain(MANIFEST_FILE);
    expect(first).toContain('config.json');
    expect(await uploadsIn(prefix)).toEqual([BIG]);

    proxy.fault = () => 'none';
    const before = proxy.requests.length;
    await publishToBucket(publication(at(prefix)), proxy);
    // What was there is left as it is.
    expect(
      proxy.requests.slice(before).filter(({ method, path }) => method === 'PUT' && /config\.json/.test(path)),
    ).toEqual([]);
    expect(await uploadsIn(prefix)).toEqual([]);
    const { files } = parseManifest(await readFile(join(directory, MANIFEST_FILE), 'utf8'));
    expect(await namesIn(prefix)).toEqual([...files.map(({ name }) => name), MANIFEST_FILE].sort());
    for (const name of await namesIn(prefix)) {
      expect([
        name,
        Buffer.compare(await readFile(server.file(`${prefix}/${name}`)), await readFile(join(directory, name))),
      ]).toEqual([name, 0]);
    }
    // Nothing is written a second time.
    const again = proxy.requests.length;
    await publishToBucket(publication(at(prefix)), proxy);
    expect(proxy.requests.slice(again).filter(({ method }) => method !== 'GET')).toEqual([]);
  }, 120_000);

  it('replaces another only when it may, and then takes away what the other had more', async () => {
    const prefix = 'replaced';
    await publishToBucket(publication(at(prefix)), server);
    await publishToBucket(publication(at(`${prefix}/below`)), server);
    await bucketAt(prefix).put('notes.txt', Buffer.from('not ours'));
    const other = join(root, 'other');
    await cp(directory, other, { recursive: true });
    const manifest = parseManifest(await readFile(join(other, MANIFEST_FILE), 'utf8'));
    const files = manifest.files.filter(({ name }) => name !== BIG);
    await writeFile(join(other, MANIFEST_FILE), serializeManifest({ ...manifest, files }));
    const replacing = { checkpoints: [{ directory: other, place: '' }], job: 'two' };
    await expect(publishToBucket(publication(at(prefix), replacing), server)).rejects.toMatchObject({
      code: 'OutputExists',
    });
    expect(await namesIn(prefix)).toContain(BIG);
    await publishToBucket(publication(at(prefix), { ...replacing, overwrite: true }), server);
    const names = await namesIn(prefix);
    expect(names).not.toContain(BIG);
    expect(names).toEqual(
      expect.arrayContaining(['notes.txt', MANIFEST_FILE, `below/${BIG}`, `below/${MANIFEST_FILE}`]),
    );
  }, 120_000);

  it('is taken away again when its job is cancelled, and what others have put there stays', async () => {
    const prefix = 'cancelled';
    await publishToBucket(publication(at(prefix)), server);
    await bucketAt(prefix).remove(MANIFEST_FILE);
    await bucketAt(prefix).put('notes.txt', Buffer.from('not ours'));
    await discardFromBucket(at(prefix), 'two', server);
    expect(await namesIn(prefix)).toContain(BIG);
    await discardFromBucket(at(prefix), 'one', server);
    expect(await namesIn(prefix)).toEqual(['notes.txt']);
  }, 120_000);

  it('whose file has changed on the way is refused', async () => {
    const damaged = join(root, 'damaged');
    await cp(directory, damaged, { recursive: true });
    await writeFile(join(damaged, 'config.json'), '{}');
    const publishing = publishToBucket(
      publication(at('damaged'), { checkpoints: [{ directory: damaged, place: '' }] }),
      server,
    );
    await expect(publishing).rejects.toMatchObject({ code: 'VerificationFailed' });
    expect(await namesIn('damaged')).not.toContain(MANIFEST_FILE);
  }, 60_000);
});

describe('a job whose output is in a bucket', () => {
  let stack: JobStack;
  const settings = () => ({ ...S3_CREDENTIALS, QUANTLOOM_S3_ENDPOINT: proxy.endpoint });
  /** Of a machine that shares the store and nothing else. */
  const machine = (name: string) => ({ QUANTLOOM_MODELS: join(stack.directory, name) });
  const spec = (output: string, changes: Partial<QuantizationSpecInput> = {}) =>
    demoSpec(output, {
      model,
      formats: ['gptq', 'gguf'],
      evaluation: { text: 'demo', context: 64, maxTokens: 512, original: false },
      ...changes,
    });

  beforeAll(async () => {
    stack = await startJobStack({ workers: ['control'], environment: settings() });
    await stack.startWorker('gpu', machine('gpu'));
  }, 60_000);

  afterAll(() => stack?.stop(), 60_000);

  it('has the bytes of one in a directory; a worker that is killed while it uploads leaves no manifest', async () => {
    const first: ChildProcess = await stack.startWorker('cpu', machine('first'));
    proxy.fault = ({ method, path }) =>
      method === 'PUT' && /\/job\/gguf\/model\.gguf/.test(path) ? { delayMs: 3_600_000 } : 'none';
    const job = await stack.start(spec(at('job')), 'in-bucket');
    await until(async () => proxy.count('PUT', /\/job\/gguf\/model\.gguf/) > 0);
    first.kill('SIGKILL');
    await once(first, 'exit');
    const names = await namesIn('job');
    expect(names.filter((name) => name.startsWith('gptq/')).length).toBeGreaterThan(3);
    expect(names.filter((name) => name.endsWith(MANIFEST_FILE))).toEqual([]);

    proxy.fault = () => 'none';
    await stack.startWorker('cpu', machine('second'));
    const result = await job.result();
    expect(result.outputs).toEqual({ gptq: at('job/gptq'), gguf: at('job/gguf') });
    const outputs = await quantizeDirect({ ...spec(join(root, 'direct')), evaluation: null });
    for (const format of ['gptq', 'gguf'] as const) {
      const place = server.file(`job/${format}`);
      expect(await weightDigests(place)).toEqual(await weightDigests(outputs[format] as string));
      expect(await verifyCheckpoint(place)).toMatchObject({ passed: true, hasManifest: true });
    }
    expect(await uploadsIn('job')).toEqual([]);
    expect(existsSync(join(process.cwd(), 's3:'))).toBe(false);
  }, 300_000);

  it('is refused where something is, unless it may replace it; the same command finds it there', async () => {
    const sources = { models: root, hub: {}, s3: { endpoint: server.endpoint } };
    const refusals = async (changes: Partial<QuantizationSpecInput>) =>
      (await planModel(parseQuantizationSpec(spec(at('job'), changes)), { sources })).estimate.refusals;
    expect(await refusals({})).toMatchObject([{ code: 'OutputExists' }, { code: 'OutputExists' }]);
    expect(await refusals({ overwrite: true })).toEqual([]);
    expect(await refusals({ importanceOnly: true, evaluation: null })).toMatchObject([{ code: 'PlanRefused' }]);
    await expect(quantizeDirect(spec(at('direct')))).rejects.toThrow('quantizeDirect writes directories');

    const place = { home: join(root, 'home'), workingDirectory: root, environment: settings() };
    const words = ['quantize', model, '--method', 'rtn', '--group-size', '64', '--out', at('cli'), '--json'];
    const made = await runCli(words, place);
    expect({ code: made.code, stderr: made.code === 0 ? '' : made.stderr }).toEqual({ code: 0, stderr: '' });
    const again = await runCli(words, place);
    expect(JSON.parse(again.stdout)).toMatchObject({ state: 'already-there', outputs: { gptq: at('cli') } });
    const other = await runCli([...words, '--bits', '8'], place);
    expect([other.code, other.stderr]).toEqual([
      2,
      expect.stringContaining('exists and is not the result of this very job'),
    ]);
    await rm(server.file('cli/config.json'));
    const damaged = await runCli(words, place);
    expect([damaged.code, damaged.stderr]).toEqual([1, expect.stringContaining('config.json is missing or another')]);
  }, 300_000);
});
