import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { type Cut, cutFor, piecesOf, type TokenizerLayout } from './safe-boundaries';

const layoutOf = (name: string): TokenizerLayout =>
  JSON.parse(readFileSync(path.join(__dirname, 'fixtures', name, 'tokenizer.json'), 'utf8'));
const demo: TokenizerLayout = JSON.parse(
  readFileSync(path.join(__dirname, '../../assets/demo-model/tokenizer.json'), 'utf8'),
);

jest.setTimeout(30_000);

describe('cutFor', () => {
  test.each(['digits', 'llama3', 'metaspace', 'llama2'])('%s: texts may be cut', (name) => {
    expect(cutFor(layoutOf(name), {})).not.toBeNull();
  });

  test('letters that a token has before a space are no place to cut', () => {
    const layout = layoutOf('llama2');
    const { boundary } = cutFor({ ...layout, model: { ...layout.model, vocab: { 'e▁': 1, 'of▁the': 2 } } }, {}) as Cut;
    expect('the off of and then'.match(boundary)).toEqual(['d']);
  });

  test.each<[string, TokenizerLayout]>([
    [
      'puts a space before the text',
      { ...demo, pre_tokenizer: { type: 'ByteLevel', add_prefix_space: true, use_regex: true } },
    ],
    [
      'does not split into words',
      { ...demo, pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: false } },
    ],
    [
      'has an unknown expression',
      { ...demo, pre_tokenizer: { type: 'Split', behavior: 'Isolated', pattern: { Regex: '\\s' } } },
    ],
    ['has no pre-tokenizer', { ...demo, pre_tokenizer: null }],
    ['changes the text first', { ...demo, normalizer: { type: 'Prepend', prepend: '▁' } }],
    ['has a token that spans words', { ...demo, added_tokens: [{ content: 'two words' }] }],
    ['has a token that eats the space after it', { ...demo, added_tokens: [{ content: 'mask', rstrip: true }] }],
    ['has a token that eats the space before it', { ...demo, added_tokens: [{ content: 'mask', lstrip: true }] }],
    ['merges over the whole text and puts no space before', { ...layoutOf('llama2'), normalizer: null }],
    ['is no BPE', { ...demo, model: { type: 'Unigram' } }],
  ])('a tokenizer that %s gets the whole text', (_, layout) => {
    expect(cutFor(layout, {})).toBeNull();
  });
});

describe('piecesOf', () => {
  test('cuts behind a letter, not before the size asked for', () => {
    const cut = { ...(cutFor(demo, {}) as Cut), characters: 3 };
    expect([...piecesOf('one two, three\nfour 5 six', cut)]).toEqual(['one', ' two, three', '\nfour', ' 5 six']);
    expect([...piecesOf('短い文字列には空白がない', cut)]).toEqual(['短い文字列には空白がない']);
    expect([...piecesOf('', cut)]).toEqual(['']);
  });

  test.each(['digits', 'llama3', 'metaspace', 'llama2'])(
    '%s: pieces encode to the tokens of the whole, for any text and any size',
    (name) => {
      const layout = layoutOf(name);
      const tokenizer = new Tokenizer(layout, {});
      const encode = (text: string) => tokenizer.encode(text, { add_special_tokens: false }).ids;
      const part = fc.oneof(
        fc.constantFrom(
          ' ',
          '  ',
          '\n',
          '\r\n',
          '\t',
          "'s",
          "'t",
          'a',
          'the',
          'Zürich',
          '.',
          '...',
          '12',
          '<|endoftext|>',
          'é',
          '\u00a0',
          '語',
        ),
        fc.string({ unit: 'binary', maxLength: 4 }),
      );
      fc.assert(
        fc.property(fc.array(part, { maxLength: 40 }), fc.integer({ min: 1, max: 20 }), (parts, size) => {
          const text = parts.join('');
          const pieces = [...piecesOf(text, { ...(cutFor(layout, {}) as Cut), characters: size })];
          expect(pieces.flatMap((piece) => encode(piece))).toEqual(encode(text));
        }),
        { numRuns: 300, seed: 1 },
      );
    },
  );
});
