import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readGolden, TEXT_OF_TINY_MODELS, tinyModelDirectory } from '../../test/tiny-models';
import { demoHeldOutText } from './demo-text';
import { encodeDocuments } from './encode-documents';
import { loadTokenizer } from './load-tokenizer';

const FIXTURES = path.join(__dirname, 'fixtures');
const DEMO = path.join(__dirname, '../../assets/demo-model');
const directoryOf = (name: string) => (name === 'demo' ? DEMO : path.join(FIXTURES, name));

/** Written by test/oracles/tokenizer.py with transformers. */
interface Fixture {
  readonly texts: readonly string[];
  readonly tokenizers: Readonly<
    Record<string, { readonly ids: readonly number[][]; readonly heldOut: { count: number; sha256: string } }>
  >;
}

jest.setTimeout(30_000);

describe('loadTokenizer', () => {
  let fixture: Fixture;
  let directory: string;
  beforeAll(async () => {
    fixture = JSON.parse(await readFile(path.join(FIXTURES, 'tokens.json'), 'utf8'));
    directory = await mkdtemp(path.join(tmpdir(), 'quantloom-tokenizer-'));
  });
  afterAll(() => rm(directory, { recursive: true }));

  test.each(['demo', 'digits', 'llama3', 'metaspace', 'llama2'])(
    '%s: the ids of hard texts are those of transformers',
    async (name) => {
      const tokenizer = await loadTokenizer(directoryOf(name));
      const encoded = await Promise.all(
        fixture.texts.map(async (text) => [text, Array.from(await tokenizer.encode(text))]),
      );
      expect(encoded).toEqual(fixture.texts.map((text, i) => [text, fixture.tokenizers[name]?.ids[i]]));
    },
  );

  test.each(['demo', 'digits', 'llama3', 'metaspace', 'llama2'])(
    '%s: 150,000 characters, encoded in pieces, has the ids of transformers',
    async (name) => {
      const tokens = await (await loadTokenizer(directoryOf(name))).encode((await demoHeldOutText()).slice(0, 150_000));
      const { count, sha256 } = fixture.tokenizers[name]?.heldOut ?? {};
      expect(tokens).toHaveLength(count as number);
      expect(createHash('sha256').update(tokens).digest('hex')).toBe(sha256);
    },
  );

  test.each(['qwen2-plain', 'gpt2-tied'] as const)('%s: byte-level BPE has the ids of tokenizers', async (name) => {
    const tokenizer = await loadTokenizer(tinyModelDirectory(name));
    const ids = [...readGolden(name).integers('text_tokens')];
    expect(Array.from(await tokenizer.encode(TEXT_OF_TINY_MODELS))).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(TEXT_OF_TINY_MODELS);
  });

  test('lets other work run while a long text is encoded', async () => {
    const tokenizer = await loadTokenizer(DEMO);
    let turns = 0;
    const ticking = setInterval(() => turns++, 1);
    await tokenizer.encode(await demoHeldOutText());
    clearInterval(ticking);
    expect(turns).toBeGreaterThan(4);
  });

  test.each(['demo', 'digits', 'llama3'])('%s: decodes to the text that was encoded', async (name) => {
    const tokenizer = await loadTokenizer(directoryOf(name));
    for (const text of fixture.texts) {
      expect(tokenizer.decode(await tokenizer.encode(text))).toBe(name === 'llama3' ? text.normalize('NFC') : text);
    }
    expect(tokenizer.decode([])).toBe('');
  });

  test('leaves special tokens out of decoded text when asked to', async () => {
    const tokenizer = await loadTokenizer(DEMO);
    const tokens = await tokenizer.encode('a<|endoftext|>b');
    expect(tokenizer.decode(tokens, { skipSpecialTokens: true })).toBe('ab');
  });

  test('knows the token that ends a text and the size of the vocabulary', async () => {
    expect(await loadTokenizer(DEMO)).toMatchObject({ endOfText: 0, vocabularySize: 2048 });
    expect(await loadTokenizer(path.join(FIXTURES, 'llama3'))).toMatchObject({ endOfText: 0, vocabularySize: 520 });
  });

  test('without tokenizer_config.json the end-of-text token is the one in config.json', async () => {
    await writeFile(
      path.join(directory, 'tokenizer.json'),
      await readFile(path.join(FIXTURES, 'digits/tokenizer.json')),
    );
    await writeFile(path.join(directory, 'config.json'), '{"eos_token_id": [7, 9]}');
    expect(await loadTokenizer(directory)).toMatchObject({ endOfText: 7 });
  });

  test('documents are encoded one by one, with the end-of-text token between them', async () => {
    const tokenizer = await loadTokenizer(DEMO);
    const [first, second] = [await tokenizer.encode('One document'), await tokenizer.encode(' another')];
    expect([...(await encodeDocuments(tokenizer, ['One document', ' another']))]).toEqual([...first, 0, ...second]);
  });

  test('the first tokens alone are the first of all tokens', async () => {
    const tokenizer = await loadTokenizer(DEMO);
    const text = await demoHeldOutText();
    const all = await encodeDocuments(tokenizer, [text, 'More']);
    expect(await encodeDocuments(tokenizer, [text, 'More'], { most: 30_000 })).toEqual(all.slice(0, 30_000));
    expect(await encodeDocuments(tokenizer, [text, 'More'], { most: all.length - 1 })).toEqual(all.slice(0, -1));
  });

  test('a missing tokenizer.json is named, with what to do', async () => {
    const empty = await mkdtemp(path.join(directory, 'empty-'));
    await expect(loadTokenizer(empty)).rejects.toMatchObject({
      code: 'InvalidModel',
      message: expect.stringContaining(`${empty}/tokenizer.json is missing`),
    });
  });

  test.each([
    ['{"model":', 'InvalidModel', /cannot be read/],
    ['{"version": "1.0"}', 'InvalidModel', /model is not what a tokenizer has there/],
    ['{"model": {"type": "WordSalad", "vocab": {}}}', 'UnsupportedInput', /cannot be used/],
  ])('a tokenizer.json with %j is refused', async (content, code, message) => {
    const bad = await mkdtemp(path.join(directory, 'bad-'));
    await writeFile(path.join(bad, 'tokenizer.json'), content);
    await expect(loadTokenizer(bad)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });
});
