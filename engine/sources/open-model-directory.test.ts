import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { readTensor, serializeSafetensors } from '../checkpoints/safetensors';
import { decodeFloats } from '../numbers';
import { QuantloomError, type Tensor } from '../spec';
import { openModelDirectory } from './open-model-directory';
import { resolveModelDirectory } from './resolve-model-directory';

const INDEX = 'model.safetensors.index.json';
const bytes = (...values: number[]): Tensor => ({ dtype: 'U8', shape: [values.length], data: Uint8Array.from(values) });
const file = (tensors: Record<string, Tensor>) => serializeSafetensors(new Map(Object.entries(tensors)));
const index = (map: Record<string, unknown>) => JSON.stringify({ metadata: {}, weight_map: map });

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quantloom-sources-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function write(files: Record<string, string | Uint8Array>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(join(directory, name, '..'), { recursive: true });
    await writeFile(join(directory, name), content);
  }
}

/** The one clear line that says why the directory is refused. */
async function refusal(path = directory): Promise<string> {
  const error = await openModelDirectory(path).catch((error: unknown) => error);
  if (!(error instanceof QuantloomError)) throw error;
  expect(error.message).not.toContain('\n');
  return `${error.code}: ${error.message.replaceAll(directory, '<model>')}`;
}

describe('a model in one file', () => {
  test('the demo model: tensors at their place, values readable', async () => {
    const source = await openModelDirectory(relative(process.cwd(), resolveModelDirectory('demo')));
    expect(source.directory).toBe(resolveModelDirectory('demo'));
    expect(source.config.model_type).toBe('llama');
    expect(source.weightFiles).toEqual(['model.safetensors']);
    expect(source.companions).toEqual(['generation_config.json', 'tokenizer.json', 'tokenizer_config.json']);
    const norm = source.tensors['model.norm.weight'];
    expect(norm).toMatchObject({
      name: 'model.norm.weight',
      dtype: 'BF16',
      shape: [256],
      file: 'model.safetensors',
      bytes: 512,
    });
    if (norm === undefined) throw new Error('no norm');
    const values = decodeFloats(await readTensor(source.directory, norm));
    expect(values).toHaveLength(256);
    expect(values.every((value) => value > 0 && value < 100)).toBe(true);
  });

  test('tensors are sorted by name and reach no inherited property', async () => {
    await write({ 'config.json': '{}', 'model.safetensors': file({ b: bytes(1), a: bytes(2) }) });
    const { tensors } = await openModelDirectory(directory);
    expect(Object.keys(tensors)).toEqual(['a', 'b']);
    expect(tensors.toString).toBeUndefined();
  });

  test('companions are what a runtime needs, and the licence; nothing else', async () => {
    const companions = [
      'LICENSE',
      'LICENSE.txt',
      'NOTICE',
      'USE_POLICY.md',
      'added_tokens.json',
      'additional_chat_templates/tools.jinja',
      'chat_template.jinja',
      'chat_template.json',
      'generation_config.json',
      'merges.txt',
      'preprocessor_config.json',
      'special_tokens_map.json',
      'tokenizer.json',
      'tokenizer.model',
      'tokenizer_config.json',
      'vocab.json',
    ];
    const others = [
      'README.md',
      'pytorch_model.bin',
      'tokenizer.py',
      'train.py',
      'optimizer.pt',
      'held-out.txt',
      '.gitattributes',
    ];
    await write(Object.fromEntries([...companions, ...others].map((name) => [name, 'x'])));
    await write({ 'config.json': '{}', 'model.safetensors': file({ a: bytes(1) }), 'tokenizer_dir.json/x': '' });
    expect((await openModelDirectory(directory)).companions).toEqual(companions);
  });

  test('files may be links out of the directory, as in the cache of the hub', async () => {
    await write({ 'blobs/1': '{}', 'blobs/2': file({ a: bytes(7) }), 'blobs/3': '{}' });
    await mkdir(join(directory, 'snapshot'));
    for (const [blob, name] of ['config.json', 'model.safetensors', 'tokenizer.json'].entries()) {
      await symlink(`../blobs/${blob + 1}`, join(directory, 'snapshot', name));
    }
    const source = await openModelDirectory(join(directory, 'snapshot'));
    expect(source.companions).toEqual(['tokenizer.json']);
    const { a } = source.tensors;
    if (a === undefined) throw new Error('no tensor');
    expect([...(await readTensor(source.directory, a)).data]).toEqual([7]);
  });
});

describe('a model in shards', () => {
  const shards = {
    'config.json': '{}',
    'model-1.safetensors': file({ a: bytes(1), b: bytes(2) }),
    'model-2.safetensors': file({ c: bytes(3) }),
  };

  test('knows the file of each tensor', async () => {
    await write({
      ...shards,
      [INDEX]: index({ c: 'model-2.safetensors', a: 'model-1.safetensors', b: 'model-1.safetensors' }),
    });
    const { tensors, weightFiles } = await openModelDirectory(directory);
    expect(weightFiles).toEqual(['model-1.safetensors', 'model-2.safetensors']);
    expect(Object.values(tensors).map(({ name, file }) => `${name} ${file}`)).toEqual([
      'a model-1.safetensors',
      'b model-1.safetensors',
      'c model-2.safetensors',
    ]);
  });

  test.each([
    [
      'a missing shard',
      { a: 'model-1.safetensors', d: 'model-3.safetensors' },
      '"model-3.safetensors" for tensor "d", which is missing',
    ],
    ['a tensor in another shard', { a: 'model-2.safetensors' }, 'tensor "a" is in model-2.safetensors, but it is not'],
    [
      'a path out of the directory',
      { a: '../x.safetensors' },
      '"../x.safetensors" for tensor "a", which does not lie inside',
    ],
    ['a hidden path out of the directory', { a: 'sub/../../x.safetensors' }, 'does not lie inside'],
    ['an absolute path', { a: '/etc/x.safetensors' }, 'does not lie inside'],
    ['a Windows path', { a: '..\\x.safetensors' }, 'does not lie inside'],
    ['a drive', { a: 'c:x.safetensors' }, 'does not lie inside'],
    ['a pickle', { a: 'pytorch_model.bin' }, 'which is not a safetensors file'],
    ['a number', { a: 1 }, '1 for tensor "a", which is not a file name'],
    ['nothing', {}, 'names no tensor'],
  ])('an index that names %s is refused', async (_, map, message) => {
    await write({ ...shards, [INDEX]: index(map) });
    expect(await refusal()).toMatch(/^InvalidModel: <model>\/model\.safetensors\.index\.json /);
    expect(await refusal()).toContain(message);
  });

  test('a tensor in two shards is refused', async () => {
    await write({
      ...shards,
      'model-2.safetensors': file({ a: bytes(3) }),
      [INDEX]: index({ a: 'model-1.safetensors', b: 'model-2.safetensors' }),
    });
    expect(await refusal()).toBe(
      'InvalidModel: Tensor "a" is both in model-1.safetensors and in model-2.safetensors of <model>.',
    );
  });

  test('an index without weight_map, and shards without index, are refused', async () => {
    await write(shards);
    expect(await refusal()).toContain('only model-1.safetensors, model-2.safetensors. Shards need their index');
    await write({ [INDEX]: '{"metadata":{}}' });
    expect(await refusal()).toContain('has no object "weight_map"');
  });
});

describe('a directory that is no model', () => {
  const weights = file({ a: bytes(1, 2, 3, 4) });

  test('is refused when it does not exist or is a file', async () => {
    await write({ file: '' });
    expect(await refusal(join(directory, 'none'))).toBe(
      "InvalidModel: The model's directory <model>/none does not exist. A model of the hub is written hf:OWNER/NAME.",
    );
    expect(await refusal(join(directory, 'file'))).toContain('<model>/file is not a directory');
  });

  test.each([
    [null, '<model>/config.json is missing'],
    ['{"a":', '<model>/config.json is not valid JSON'],
    ['{\n"a" x\n}', '<model>/config.json is not valid JSON'],
    [Uint8Array.of(0x22, 0xff, 0x22), '<model>/config.json is not valid JSON'],
    ['[1]', '<model>/config.json does not hold a JSON object'],
    ['null', '<model>/config.json does not hold a JSON object'],
    [new Uint8Array(16_000_001), '<model>/config.json has 16000001 bytes, over the limit of 16000000'],
  ])('is refused for its config %#', async (config, message) => {
    await write({ 'model.safetensors': weights, ...(config === null ? {} : { 'config.json': config }) });
    expect(await refusal()).toContain(`InvalidModel: ${message}`);
  });

  test('is refused without weights', async () => {
    await write({ 'config.json': '{}', 'tokenizer.json': '{}' });
    expect(await refusal()).toContain('InvalidModel: <model> has no weights');
    await write({ 'model.safetensors': file({}) });
    expect(await refusal()).toContain('InvalidModel: <model> has no weights: model.safetensors holds no tensor.');
  });

  test.each(['pytorch_model.bin', 'pytorch_model-00001-of-00002.bin', 'model.pt', 'consolidated.00.pth'])(
    'is refused with weights as pickle only, which is not opened: %s',
    async (name) => {
      await write({ 'config.json': '{}' });
      // A link to nowhere cannot be opened.
      await symlink('nowhere', join(directory, name));
      expect(await refusal()).toMatch(
        /^UnsupportedInput: <model> has its weights only as .* Convert them with the safetensors library/,
      );
      expect(await refusal()).toContain(name);
    },
  );

  test('is refused with weights as GGUF only', async () => {
    await write({ 'config.json': '{}', 'model.gguf': '' });
    expect(await refusal()).toMatch(/^UnsupportedInput: .*Give the path of one of them/);
  });

  test('is refused when its weights are cut or lie about their size', async () => {
    await write({ 'config.json': '{}', 'model.safetensors': weights.subarray(0, weights.length - 1) });
    expect(await refusal()).toContain(
      'InvalidModel: <model>/model.safetensors is not a valid safetensors file: the file is truncated',
    );
    const lying = weights.slice(0, 8);
    new DataView(lying.buffer).setBigUint64(0, 99_999_999n, true);
    await write({ 'model.safetensors': lying });
    expect(await refusal()).toContain('the header claims 99999999 bytes, but the file has 8');
    await write({ 'model.safetensors': '' });
    expect(await refusal()).toContain('it has 0 bytes');
  });
});

test('a tensor whose file shrank or vanished after the inspection is not read', async () => {
  const weights = file({ a: bytes(1, 2, 3, 4) });
  await write({ 'config.json': '{}', 'model.safetensors': weights });
  const { a } = (await openModelDirectory(directory)).tensors;
  if (a === undefined) throw new Error('no tensor');
  await write({ 'model.safetensors': weights.subarray(0, weights.length - 1) });
  await expect(readTensor(directory, a)).rejects.toMatchObject({
    code: 'SourceChanged',
    message: expect.stringContaining('after 3 of the 4 bytes of tensor a'),
  });
  await rm(join(directory, 'model.safetensors'));
  await expect(readTensor(directory, a)).rejects.toMatchObject({ code: 'SourceChanged', retryable: false });
});
