import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { allowsCutting, piecesOf, type TokenizerLayout } from './safe-boundaries';

const layoutOf = (name: string): TokenizerLayout =>
  JSON.parse(readFileSync(path.join(__dirname, 'fixtures', name, 'tokenizer.json'), 'utf8'));
const demo: TokenizerLayout = JSON.parse(
  readFileSync(path.join(__dirname, '../../assets/demo-model/tokenizer.json'), 'utf8'),
);

describe('allowsCutting', () => {
  test('byte-level tokenizers of the known kinds may be fed in pieces, SentencePiece-type ones not', () => {
    expect(allowsCutting(demo, {})).toBe(true);
    expect(allowsCutting(layoutOf('digits'), {})).toBe(true);
    expect(allowsCutting(layoutOf('llama3'), {})).toBe(true);
    expect(allowsCutting(layoutOf('metaspace'), {})).toBe(false);
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
    ['is no BPE', { ...demo, model: { type: 'Unigram' } }],
  ])('a tokenizer that %s gets the whole text', (_, layout) => {
    expect(allowsCutting(layout, {})).toBe(false);
  });
});

describe('piecesOf', () => {
  test('cuts between a letter and a space or line break only', () => {
    expect([...piecesOf('one two, three\nfour 5 six', 3)]).toEqual(['one', ' two, three', '\nfour', ' 5 six']);
    expect([...piecesOf('短い文字列には空白がない', 3)]).toEqual(['短い文字列には空白がない']);
    expect([...piecesOf('', 3)]).toEqual(['']);
  });

  test.each(['digits', 'llama3'])('%s: pieces encode to the tokens of the whole, for any text and any size', (name) => {
    const tokenizer = new Tokenizer(layoutOf(name), {});
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
        const pieces = [...piecesOf(text, size)];
        expect(pieces.join('')).toBe(text);
        expect(pieces.flatMap((piece) => encode(piece))).toEqual(encode(text));
      }),
      { numRuns: 500, seed: 1 },
    );
  });
});
