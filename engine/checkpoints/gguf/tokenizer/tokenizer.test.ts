import { tokenizerMetadata } from './tokenizer-metadata';
import type { TokenizerSource } from './tokenizer-source';

const byteLevel = { type: 'ByteLevel', add_prefix_space: false, use_regex: true };

function sourceOf(
  changes: Partial<TokenizerSource> & { readonly json?: object; readonly model?: object },
): TokenizerSource {
  const { json, model, ...rest } = changes;
  return {
    tokenizer: {
      added_tokens: [
        { id: 0, content: '<|end|>', special: false },
        { id: 4, content: 'two▁words', special: false },
        { id: 5, content: '[BOS]', special: true },
      ],
      pre_tokenizer: byteLevel,
      model: { type: 'BPE', vocab: { '<|end|>': 0, a: 1, b: 2, ab: 3 }, merges: [['a', 'b']], ...model },
      ...json,
    },
    tokenizerConfig: {},
    modelConfig: {},
    vocabularySize: 7,
    ...rest,
  };
}
const valuesOf = (source: TokenizerSource, key: string) => {
  const value = tokenizerMetadata(source).get(key);
  return value?.type === 'array' ? [...value.value.values] : value?.value;
};

test('tokens by id: normal, control by mark or by look, user-defined with real spaces, unused', () => {
  expect(valuesOf(sourceOf({}), 'tokenizer.ggml.tokens')).toEqual([
    '<|end|>',
    'a',
    'b',
    'ab',
    'two words',
    '[BOS]',
    '[PAD6]',
  ]);
  expect(valuesOf(sourceOf({}), 'tokenizer.ggml.token_type')).toEqual([3, 1, 1, 1, 4, 3, 5]);
});

test('merges as strings or pairs, spaces in them encoded', () => {
  const key = 'tokenizer.ggml.merges';
  expect(valuesOf(sourceOf({ model: { merges: ['a b'] } }), key)).toEqual(['a b']);
  expect(valuesOf(sourceOf({ model: { merges: [['a ', 'b']] } }), key)).toEqual(['aĠ b']);
});

test('special tokens: by tokenizer_config.json, else by config.json', () => {
  const source = sourceOf({
    tokenizerConfig: { bos_token: { content: '[BOS]' }, add_eos_token: true },
    modelConfig: { bos_token_id: 1, eos_token_id: 0, pad_token_id: 99 },
    json: {
      post_processor: { type: 'TemplateProcessing', single: [{ SpecialToken: { id: '[BOS]' } }, { Sequence: {} }] },
    },
  });
  const metadata = tokenizerMetadata(source);
  expect(metadata.get('tokenizer.ggml.bos_token_id')).toEqual({ type: 'uint32', value: 5 });
  expect(metadata.get('tokenizer.ggml.eos_token_id')).toEqual({ type: 'uint32', value: 0 });
  expect(metadata.has('tokenizer.ggml.padding_token_id')).toBe(false);
  expect(metadata.get('tokenizer.ggml.add_bos_token')).toEqual({ type: 'bool', value: true });
  expect(metadata.get('tokenizer.ggml.add_eos_token')).toEqual({ type: 'bool', value: true });
});

test('chat templates: one, a file of its own, or several with names', () => {
  const key = 'tokenizer.chat_template';
  expect(valuesOf(sourceOf({ tokenizerConfig: { chat_template: 'hi' }, chatTemplate: 'no' }), key)).toBe('hi');
  expect(valuesOf(sourceOf({ chatTemplate: 'file' }), key)).toBe('file');
  const chat_template = [
    { name: 'default', template: 'd' },
    { name: 'tool-use', template: 't' },
  ];
  const several = sourceOf({ tokenizerConfig: { chat_template } });
  expect(valuesOf(several, key)).toBe('d');
  expect(valuesOf(several, `${key}.tool_use`)).toBe('t');
  expect(valuesOf(several, 'tokenizer.chat_templates')).toEqual(['tool_use']);
});

test.each([
  ['gpt-2', byteLevel, false],
  ['smollm', { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, byteLevel] }, false],
])('texts are split as %s', (name, pre_tokenizer, ignore_merges) => {
  expect(valuesOf(sourceOf({ json: { pre_tokenizer }, model: { ignore_merges } }), 'tokenizer.ggml.pre')).toBe(name);
});

test.each<[string, Partial<TokenizerSource> & { json?: object; model?: object }, string]>([
  ['another model', { model: { type: 'Unigram' } }, 'a tokenizer of type "Unigram"'],
  [
    'an unknown split',
    {
      json: {
        pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: 'x+' } }, byteLevel] },
      },
    },
    'not known for GGUF: x+ then bytes',
  ],
  ['words kept whole where llama.cpp merges them', { model: { ignore_merges: true } }, 'gpt-2 with ignore_merges true'],
  ['neither bytes nor fallback', { json: { pre_tokenizer: null } }, 'neither byte-level nor has byte fallback'],
  ['an id outside the model', { vocabularySize: 5 }, 'token "[BOS]" has id 5; the model has ids 0 to 4'],
  ['an id that is no number', { model: { vocab: { a: 'x' } } }, 'token "a" has id "x"'],
  ['a merge of three', { model: { merges: ['a b c'] } }, 'merge 0 is not a pair of tokens'],
])('%s is refused', (_, changes, message) => {
  expect(() => tokenizerMetadata(sourceOf(changes))).toThrow(message);
});
