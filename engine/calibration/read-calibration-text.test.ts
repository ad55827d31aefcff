import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { demoHeldOutText } from './demo-text';
import { loadTokenizer } from './load-tokenizer';
import { readCalibrationText } from './read-calibration-text';

jest.setTimeout(30_000);

describe('readCalibrationText', () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'quantloom-text-'));
  });
  afterAll(() => rm(directory, { recursive: true }));

  async function fileWith(name: string, content: string | Uint8Array): Promise<string> {
    const file = path.join(directory, name);
    await writeFile(file, content);
    return file;
  }

  test('a text file is one document, line breaks as they are, without a byte order mark', async () => {
    const { documents } = await readCalibrationText(await fileWith('a.txt', '\ufefffirst\r\nsecond ä\n'));
    expect(documents).toEqual(['first\r\nsecond ä\n']);
  });

  test('every line of a JSONL file is a document; empty lines and empty texts are none', async () => {
    const lines = '{"text":"one","id":1}\r\n\n{"text":"two\\nlines"}\n{"text":" "}\n{"text":"last"}';
    const { documents } = await readCalibrationText(await fileWith('a.jsonl', lines));
    expect(documents).toEqual(['one', 'two\nlines', 'last']);
  });

  test('the identity is that of the documents', async () => {
    const { sha256 } = await readCalibrationText(await fileWith('b.txt', 'abc'));
    // printf '3\nabc' | sha256sum
    expect(sha256).toBe('b00c078ef550998002854805b6d1fac35a8601ebe3d9a9b32bf6f6157038e1b9');
    const one = await readCalibrationText(await fileWith('one.jsonl', '{"text":"ab"}\n{"text":"c"}'));
    const two = await readCalibrationText(await fileWith('two.jsonl', '{"text":"a"}\n{"text":"bc"}'));
    expect(one.sha256).not.toBe(two.sha256);
  });

  test('demo: text that lies behind the tokens that perplexity is measured on', async () => {
    const { documents } = await readCalibrationText('demo');
    const whole = await demoHeldOutText();
    const [text] = documents as [string];
    expect(whole.endsWith(text)).toBe(true);
    expect(text.length).toBeGreaterThan(whole.length / 2);
    const tokenizer = await loadTokenizer(path.join(__dirname, '../../assets/demo-model'));
    const before = await tokenizer.encode(whole.slice(0, whole.length - text.length));
    expect(before.length).toBeGreaterThan(16384);
  });

  test.each<[string, string, string | Uint8Array, RegExp]>([
    ['an empty file', 'empty.txt', '', /empty\.txt holds no text/],
    ['nothing but white space', 'blank.txt', ' \n\n', /blank\.txt holds no text/],
    ['JSONL without a document', 'blank.jsonl', '\n\n', /blank\.jsonl holds no text/],
    ['a text that is not UTF-8', 'latin1.txt', Buffer.from('caf\xe9', 'latin1'), /latin1\.txt is not UTF-8/],
    ['a line that is not JSON', 'bad.jsonl', '{"text":"a"}\n\n{"text":', /bad\.jsonl, line 3, is not JSON/],
    [
      'a line without text',
      'bad.jsonl',
      '{"text":"a"}\n{"content":"b"}',
      /line 2, has no field `text` that is a string/,
    ],
    ['a line that is a list', 'bad.jsonl', '["a"]', /line 1, has no field `text`/],
    [
      'a line that is not UTF-8',
      'bad.jsonl',
      Buffer.from('{"text":"a"}\n{"text":"\xe9"}', 'latin1'),
      /line 2, is not UTF-8/,
    ],
  ])('refuses %s, naming the place', async (_, name, content, message) => {
    await expect(readCalibrationText(await fileWith(name, content))).rejects.toMatchObject({
      code: 'InvalidCalibration',
      message: expect.stringMatching(message),
    });
  });

  test('refuses a file that is not there', async () => {
    await expect(readCalibrationText(path.join(directory, 'none.txt'))).rejects.toMatchObject({
      code: 'InvalidCalibration',
      message: expect.stringMatching(/none\.txt cannot be read: .*Name a text file, a JSONL file, or `demo`/),
    });
  });
});
