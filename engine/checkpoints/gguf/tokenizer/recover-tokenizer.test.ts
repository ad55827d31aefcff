import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { demoHeldOutText, loadTokenizer } from '../../../calibration';
import { packageRoot } from '../../../sources';
import { type GgufMetadata, text } from '../container/gguf-value';
import sentencePiece from './fixtures/sentence-piece.json';
import { recoverTokenizer } from './recover-tokenizer';
import { tokenizerMetadata } from './tokenizer-metadata';

const DEMO = join(packageRoot(), 'assets', 'demo-model');
let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quantloom-tokenizer-'));
});
afterEach(() => rm(directory, { recursive: true }));

async function load(metadata: GgufMetadata) {
  for (const [name, content] of recoverTokenizer(metadata, 'model.gguf'))
    await writeFile(join(directory, name), content);
  return loadTokenizer(directory);
}

const readJson = async (name: string) => JSON.parse(await readFile(join(DEMO, name), 'utf8'));

test("byte-level BPE: the demo model's tokenizer, on a text and on what texts are not made of", async () => {
  const metadata = tokenizerMetadata({
    tokenizer: await readJson('tokenizer.json'),
    tokenizerConfig: await readJson('tokenizer_config.json'),
    modelConfig: await readJson('config.json'),
    vocabularySize: 2048,
  });
  const [original, recovered] = [await loadTokenizer(DEMO), await load(metadata)];
  const texts = [await demoHeldOutText(), ' 12345 Größe 漢字 🦙\r\n\t  x<|endoftext|>', ''];
  for (const sample of texts) {
    const tokens = await original.encode(sample);
    expect(await recovered.encode(sample)).toEqual(tokens);
    expect(recovered.decode(tokens)).toBe(original.decode(tokens));
  }
  expect(recovered.endOfText).toBe(original.endOfText);
  // transformers' library gives added tokens that are not in the vocabulary other ids than they say.
  const { added_tokens, model } = JSON.parse(await readFile(join(directory, 'tokenizer.json'), 'utf8'));
  expect(added_tokens.length).toBeGreaterThan(0);
  for (const { id, content } of added_tokens) expect({ content, id: model.vocab[content] }).toEqual({ content, id });
});

test("SentencePiece's BPE: merges follow from scores, and tokens are those of transformers' library", async () => {
  const metadata = tokenizerMetadata({
    tokenizer: sentencePiece.tokenizer,
    tokenizerConfig: { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' },
    modelConfig: {},
    vocabularySize: 330,
  });
  const recovered = await load(metadata);
  for (const [sample, ids] of Object.entries(sentencePiece.encoded)) {
    // The fixture's begin with <s>.
    expect([...(await recovered.encode(sample))]).toEqual(ids.slice(1));
  }
  const config = JSON.parse(await readFile(join(directory, 'tokenizer_config.json'), 'utf8'));
  expect(config).toMatchObject({ bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>', add_bos_token: true });
  const { post_processor } = JSON.parse(await readFile(join(directory, 'tokenizer.json'), 'utf8'));
  expect(post_processor.single).toEqual([
    { SpecialToken: { id: '<s>', type_id: 0 } },
    { Sequence: { id: 'A', type_id: 0 } },
  ]);
});

test.each(['gpt-2', 'smollm', 'llama-bpe', 'qwen2', 'tekken'])(
  '%s: written again, the metadata is the same',
  async (pre) => {
    const original = tokenizerMetadata({
      tokenizer: await readJson('tokenizer.json'),
      tokenizerConfig: {},
      modelConfig: {},
      vocabularySize: 2048,
    });
    const metadata = new Map([...original, ['tokenizer.ggml.pre', text(pre)] as const]);
    await load(metadata);
    const tokenizer = JSON.parse(await readFile(join(directory, 'tokenizer.json'), 'utf8'));
    const again = tokenizerMetadata({ tokenizer, tokenizerConfig: {}, modelConfig: {}, vocabularySize: 2048 });
    expect([...again].sort()).toEqual([...metadata].sort());
  },
);

test.each([
  [
    'a tokenizer of another kind',
    'tokenizer.ggml.model',
    't5',
    'has a tokenizer of type "t5"; gpt2 and llama can be recovered',
  ],
  ['an unknown way to split', 'tokenizer.ggml.pre', 'whatever', 'tokenizer.ggml.pre is "whatever"; known are gpt-2'],
])('%s is refused', (_, key, value, message) => {
  const metadata: GgufMetadata = new Map([
    ['tokenizer.ggml.model', text('gpt2')],
    ['tokenizer.ggml.tokens', { type: 'array', value: { of: 'string', values: ['a'] } }],
    [key, text(value)],
  ]);
  expect(() => recoverTokenizer(metadata, 'model.gguf')).toThrow(message);
});
