import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { mutatedJson } from '../../test/support/mutated-json';
import { QuantloomError } from '../spec';
import { loadTokenizer } from './load-tokenizer';

const DEMO = path.join(__dirname, '../../assets/demo-model');
const FILES = ['tokenizer.json', 'tokenizer_config.json', 'config.json'] as const;

jest.setTimeout(60_000);

describe('a tokenizer that is broken or hostile', () => {
  let directory: string;
  let contents: Record<string, string>;

  beforeAll(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'quantloom-hostile-'));
    const read = FILES.map(async (file) => [file, await readFile(path.join(DEMO, file), 'utf8')] as const);
    contents = Object.fromEntries(await Promise.all(read));
  });
  afterAll(() => rm(directory, { recursive: true }));

  /** The first refusal; null when text could be encoded all the same. */
  async function refusalOf(files: Record<string, string>): Promise<unknown> {
    for (const [file, content] of Object.entries({ ...contents, ...files })) {
      await writeFile(path.join(directory, file), content);
    }
    try {
      const tokenizer = await loadTokenizer(directory);
      tokenizer.decode(await tokenizer.encode('Once upon a time, 123 birds: sang!  äöü\n'));
      return null;
    } catch (error) {
      return error;
    }
  }

  test.each(FILES)('%s with values that surprise: it works, or says what is wrong', async (file) => {
    const documents = mutatedJson(JSON.parse(contents[file] as string));
    await fc.assert(
      fc.asyncProperty(documents, async (document) => {
        const refusal = await refusalOf({ [file]: JSON.stringify(document) });
        if (refusal !== null) expect(refusal).toBeInstanceOf(QuantloomError);
      }),
      { numRuns: 150, seed: 20261123, timeout: 5000 },
    );
  });

  test.each(FILES)('%s cut short or with changed bytes: it works, or says what is wrong', async (file) => {
    const content = contents[file] as string;
    const broken = fc.oneof(
      fc.nat(content.length - 1).map((end) => content.slice(0, end)),
      fc
        .tuple(fc.nat(content.length - 1), fc.string({ minLength: 1, maxLength: 3 }))
        .map(([at, text]) => content.slice(0, at) + text + content.slice(at + text.length)),
    );
    await fc.assert(
      fc.asyncProperty(broken, async (text) => {
        const refusal = await refusalOf({ [file]: text });
        if (refusal !== null) expect(refusal).toBeInstanceOf(QuantloomError);
      }),
      { numRuns: 100, seed: 20261123, timeout: 5000 },
    );
  });

  it('has as many tokens as large models have', async () => {
    const { model, ...others } = JSON.parse(contents['tokenizer.json'] as string);
    const vocab = { ...model.vocab };
    const known = Object.keys(vocab).length;
    for (let id = known; id < 300_000; id++) vocab[`token ${id}`] = id;
    const content = JSON.stringify({ ...others, model: { ...model, vocab } });
    expect(await refusalOf({ 'tokenizer.json': content })).toBeNull();
    expect((await loadTokenizer(directory)).vocabularySize).toBe(300_000);
  });
});
