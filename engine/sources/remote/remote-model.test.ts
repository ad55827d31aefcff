import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { COMMIT, HubServer, type Mischief } from '../../../test/support/hub-server';
import { readSafetensorsHeader, serializeSafetensors } from '../../checkpoints/safetensors';
import { resolveModelDirectory } from '../resolve-model-directory';
import { bytesToFetch, fetchRemote, pinAddress, previewRemote, remoteDirectory } from './remote-model';
import type { SourceAccess } from './source-access';

const PINNED = `hf:some/demo@${COMMIT}`;
const FILES = ['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];
const large = (path: string) => path.endsWith('.safetensors');

let models: string;
let hub: HubServer;
let access: SourceAccess;
let content: Record<string, Buffer>;
const quick = { backoffMilliseconds: 1 };

beforeEach(async () => {
  models = await mkdtemp(join(tmpdir(), 'quantloom-hub-'));
  const directory = resolveModelDirectory('demo');
  content = {};
  for (const name of FILES) content[name] = await readFile(join(directory, name));
  const index = (file: string) => Buffer.from(JSON.stringify({ weight_map: { a: file } }));
  hub = await HubServer.start({
    'some/demo': {
      files: {
        ...content,
        'README.md': Buffer.from('# card'),
        'pytorch_model.bin': Buffer.alloc(9),
        'onnx/model.onnx': Buffer.alloc(9),
      },
      large,
    },
    'some/sharded': {
      files: {
        'config.json': Buffer.from('{}'),
        'model.safetensors.index.json': Buffer.from(
          JSON.stringify({ weight_map: { a: 'a.safetensors', b: 'b.safetensors' } }),
        ),
        'a.safetensors': shard('a'),
        'b.safetensors': shard('b'),
        'consolidated.safetensors': shard('c'),
      },
      large,
    },
    'some/gated': { files: content, large, token: 'hf_secret' },
    'some/pickled': { files: { 'config.json': Buffer.from('{}'), 'pytorch_model.bin': Buffer.alloc(9) }, large },
    'some/escaping': {
      files: { 'config.json': Buffer.from('{}'), 'model.safetensors.index.json': index('../../x.safetensors') },
      large,
    },
  });
  access = { models, hub: { endpoint: hub.endpoint } };
});

afterEach(async () => {
  await hub.close();
  await rm(models, { recursive: true, force: true });
});

/** Once for every entry, in this order, for requests of weights; then none. */
function mischiefs(list: Mischief[]): Mischief {
  return (request, response, body) =>
    large(request.url as string) ? (list.shift()?.(request, response, body) ?? false) : false;
}

/** Sends half of what was asked for, then cuts the line. */
const breakOff: Mischief = (request, response, body) => {
  const from = Number(/bytes=(\d+)/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const status = request.headers.range ? 206 : 200;
  response.writeHead(status, {
    'content-length': body.length - from,
    ...(status === 206 && { 'content-range': `bytes ${from}-${body.length - 1}/${body.length}` }),
  });
  response.write(body.subarray(from, from + Math.ceil((body.length - from) / 2)), () => response.destroy());
  return true;
};

function shard(name: string): Buffer {
  return Buffer.from(
    serializeSafetensors(new Map([[name, { dtype: 'U8', shape: [4], data: Buffer.from(name.repeat(4)) }]])),
  );
}

async function expectWhole(directory: string): Promise<void> {
  expect((await readdir(directory)).sort()).toEqual(FILES);
  for (const name of FILES) expect((await readFile(join(directory, name))).equals(content[name] as Buffer)).toBe(true);
}

test('a branch is pinned to its commit, and only what is needed is fetched', async () => {
  const pinned = await pinAddress('hf:some/demo', access);
  expect(pinned).toBe(PINNED);
  const directory = await fetchRemote(pinned, access);
  expect(directory).toBe(join(models, 'hub', 'some', COMMIT, 'demo'));
  await expectWhole(directory);
  const asked = hub.requests.length;
  expect(await fetchRemote(pinned, access)).toBe(directory);
  expect(hub.requests).toHaveLength(asked);
});

test('a preview has headers and holes, and its small files are not fetched twice', async () => {
  const preview = await previewRemote(PINNED, access);
  const weights = join(preview, 'model.safetensors');
  const bytes = content['model.safetensors']?.length as number;
  expect((await stat(weights)).size).toBe(bytes);
  expect((await stat(weights)).blocks * 512).toBeLessThan(bytes / 4);
  const original = await readSafetensorsHeader(join(resolveModelDirectory('demo'), 'model.safetensors'));
  expect(await readSafetensorsHeader(weights)).toEqual(original);
  expect(await bytesToFetch(PINNED, access)).toBe(bytes);
  await expectWhole(await fetchRemote(PINNED, access));
  expect(hub.sent.get('tokenizer.json')).toBe(content['tokenizer.json']?.length);
  expect(existsSync(preview)).toBe(false);
  expect(await bytesToFetch(PINNED, access)).toBe(0);
});

test('of a model in shards, those that the index names', async () => {
  const address = `hf:some/sharded@${COMMIT}`;
  await previewRemote(address, access);
  const directory = await fetchRemote(address, access);
  const expected = ['a.safetensors', 'b.safetensors', 'config.json', 'model.safetensors.index.json'];
  expect((await readdir(directory)).sort()).toEqual(expected);
  expect((await readFile(join(directory, 'b.safetensors'))).equals(shard('b'))).toBe(true);
  expect(hub.requests.filter((request) => request.endsWith('index.json'))).toHaveLength(1);
  // Nothing but the model is left.
  expect(await readdir(join(directory, '..'))).toEqual(['sharded']);
});

test('broken connections go on with the byte that is missing', async () => {
  hub.mischief = mischiefs([() => false, breakOff, breakOff, breakOff]);
  await expectWhole(await fetchRemote(PINNED, access, quick));
});

test('what a killed process left is not fetched again', async () => {
  const body = content['model.safetensors'] as Buffer;
  await previewRemote(PINNED, access);
  const partial = join(remoteDirectory(PINNED, access), '..', '.demo.partial');
  await mkdir(partial, { recursive: true });
  await writeFile(join(partial, 'model.safetensors.part'), body.subarray(0, 1_000_000));
  const before = hub.sent.get('model.safetensors') as number;
  await expectWhole(await fetchRemote(PINNED, access, quick));
  expect((hub.sent.get('model.safetensors') as number) - before).toBe(body.length - 1_000_000);
});

test('a server that ignores ranges is read from its start, without harm', async () => {
  const whole: Mischief = (_, response, body) => {
    response.writeHead(200, { 'content-length': body.length }).end(body);
    return true;
  };
  hub.mischief = mischiefs([() => false, breakOff, whole]);
  await expectWhole(await fetchRemote(PINNED, access, quick));
});

test('a server that falls silent is left, and asked again', async () => {
  const stall: Mischief = (_, response, body) => {
    response.writeHead(200, { 'content-length': body.length });
    response.write(body.subarray(0, 1000));
    return true;
  };
  hub.mischief = mischiefs([() => false, stall]);
  await expectWhole(await fetchRemote(PINNED, { ...access, stallMilliseconds: 1_000 }, quick));
});

test('wrong bytes are fetched anew once, then refused; nothing appears under the final name', async () => {
  const changed: Mischief = (_, response, body) => {
    const bytes = Buffer.from(body);
    bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
    response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
    return true;
  };
  hub.mischief = mischiefs([() => false, changed]);
  await expectWhole(await fetchRemote(PINNED, access, quick));
  await rm(remoteDirectory(PINNED, access), { recursive: true });
  hub.mischief = mischiefs([() => false, changed, changed]);
  await expect(fetchRemote(PINNED, access, quick)).rejects.toMatchObject({
    code: 'InvalidModel',
    message: expect.stringMatching(
      /^model\.safetensors arrived with sha256 [0-9a-f]{64} where [0-9a-f]{64} is expected, twice/,
    ),
  });
  expect(existsSync(remoteDirectory(PINNED, access))).toBe(false);
});

test('gated models: with the token, without it, with another; the token reaches no other host', async () => {
  const address = `hf:some/gated@${COMMIT}`;
  await expect(pinAddress('hf:some/gated', access)).rejects.toMatchObject({
    code: 'AccessDenied',
    message: expect.stringContaining(
      `accept its terms at ${hub.endpoint}/some/gated with your account. Then set HF_TOKEN`,
    ),
  });
  const other = { ...access, hub: { ...access.hub, token: 'hf_other' } };
  const refused = fetchRemote(address, other, quick);
  await expect(refused).rejects.toMatchObject({
    message: expect.stringContaining('The account of HF_TOKEN has no access'),
  });
  await expect(refused).rejects.toMatchObject({ message: expect.not.stringContaining('hf_other') });
  const own = { ...access, hub: { ...access.hub, token: 'hf_secret' } };
  await expectWhole(await fetchRemote(address, own, quick));
  expect(hub.leaked).toEqual([]);
});

test.each([
  ['hf:some/nothing', 'ModelNotFound', /^There is no some\/nothing at /],
  ['hf:some/demo@v9', 'ModelNotFound', /^some\/demo has no such revision at /],
  ['hf:some/../demo', 'WrongUse', /is no model of the hub/],
  ['hf:', 'WrongUse', /is no model of the hub/],
])('%s is refused: %s', async (address, code, message) => {
  await expect(pinAddress(address, access)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
});

test.each([
  ['some/pickled', 'UnsupportedInput', /has neither model\.safetensors nor .* It has pytorch_model\.bin\./],
  ['some/escaping', 'InvalidModel', /names \.\.\/\.\.\/x\.safetensors, which is not there/],
])('%s is refused: %s', async (name, code, message) => {
  await expect(fetchRemote(`hf:${name}@${COMMIT}`, access, quick)).rejects.toMatchObject({
    code,
    message: expect.stringMatching(message),
  });
});

test.each([
  [
    'a web page',
    { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>log in</html>' },
    /web page where data was expected/,
  ],
  [
    'no JSON',
    { status: 200, headers: { 'content-type': 'application/json' }, body: 'hello' },
    /does not answer as the hub does/,
  ],
  [
    'other JSON',
    { status: 200, headers: { 'content-type': 'application/json' }, body: '{}' },
    /no commit for some\/demo/,
  ],
  ['a circle of redirects', { status: 302, headers: { location: '?' }, body: '' }, /redirects in a circle/],
  ['an error', { status: 503, headers: {}, body: '' }, /answered with status 503/],
])('a hub that answers with %s', async (_, answer, message) => {
  hub.api = answer;
  await expect(pinAddress('hf:some/demo', access)).rejects.toMatchObject({
    code: 'SourceUnavailable',
    message: expect.stringMatching(message),
  });
});

test('offline, a branch is what it was the last time, where that was fetched', async () => {
  await fetchRemote(await pinAddress('hf:some/demo', access), access);
  const offline = { ...access, hub: { endpoint: 'http://127.0.0.1:1' } };
  expect(await pinAddress('hf:some/demo', offline)).toBe(PINNED);
  await expect(pinAddress('hf:some/gated', offline)).rejects.toMatchObject({
    code: 'SourceUnavailable',
    message: expect.stringMatching(/^hf:some\/gated: 127\.0\.0\.1:1 cannot be reached/),
  });
});

test('two at a time fetch every byte once', async () => {
  const [one, other] = await Promise.all([fetchRemote(PINNED, access, quick), fetchRemote(PINNED, access, quick)]);
  expect(one).toBe(other);
  await expectWhole(one);
  const body = content['model.safetensors'] as Buffer;
  expect(hub.sent.get('model.safetensors')).toBeLessThanOrEqual(body.length + (1 << 17));
});
