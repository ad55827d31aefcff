/**
 * Cutting a long text so that its pieces encode to the same tokens as the whole. Two kinds of tokenizers allow it.
 *
 * Byte-level BPE first splits text into words by a regular expression that runs from left to right, then encodes each word by
 * itself. In the expressions below no alternative goes on from a letter into a space or line break, and none looks back; so
 * between a letter and a space there is always an end of a word, whatever comes before or after.
 *
 * SentencePiece-type BPE (Llama 2, Mistral) writes spaces as ▁, puts one before the text, and merges over the whole of it. Merging
 * only ever joins what is a token in the end: where no token holds a letter followed by ▁, no merge crosses that place, and the
 * two sides do not know of each other. The space itself is dropped, as the next piece gets its ▁ for being a text.
 */

const MARK = '▁';

/** GPT-2; Llama 3 and cl100k; Qwen 2. */
const LETTER_ENDS_BEFORE_SPACE: ReadonlySet<string> = new Set([
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
]);

const LETTER_SPACE = /\p{L}\s/u;
const LETTER_AT_END = /\p{L}$/u;
const LETTER_AT_START = /^\p{L}/u;

/** Where a text may be cut. */
export interface Cut {
  /** Matches the letter that a piece may end with (global, Unicode). */
  readonly boundary: RegExp;
  /** UTF-16 units of white space after it that belong to no piece. */
  readonly dropped: 0 | 1;
  /** UTF-16 units of a piece that takes about 50 ms or less to encode. */
  readonly characters: number;
}

/** The parts of tokenizer.json that decide where text may be cut. */
export interface TokenizerLayout {
  readonly normalizer?: TokenizerPart | null;
  readonly pre_tokenizer?: TokenizerPart | null;
  readonly model?: {
    readonly type?: string;
    readonly vocab?: Readonly<Record<string, number>>;
    readonly ignore_merges?: boolean;
  } | null;
  readonly added_tokens?: readonly { readonly content: string; readonly rstrip?: boolean; readonly lstrip?: boolean }[];
}

export interface TokenizerPart {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** How texts for this tokenizer may be cut; null: not known. */
export function cutFor(layout: TokenizerLayout, config: Readonly<Record<string, unknown>>): Cut | null {
  const changesText = config.remove_space === true || config.do_lowercase_and_remove_accent === true;
  if (layout.model?.type !== 'BPE' || changesText || !(layout.added_tokens ?? []).every(keepsToItself)) return null;
  const normalizers = partsOf(layout.normalizer, 'normalizers');
  const preTokenizers = partsOf(layout.pre_tokenizer, 'pretokenizers');
  if (
    normalizers.every(({ type }) => type === 'NFC') &&
    preTokenizers.every((part) => splitsIntoWords(part) || keepsWords(part)) &&
    preTokenizers.some(splitsIntoWords)
  ) {
    return { boundary: /\p{L}(?=[ \n])/gu, dropped: 0, characters: 1 << 16 };
  }
  const marks = [...normalizers, ...preTokenizers];
  if (!marks.every(writesSpaces) || !marks.some(putsSpaceBefore) || layout.model.ignore_merges) return null;
  const letters = lettersBeforeMark(layout.model.vocab ?? {});
  const other = letters.length > 0 ? `(?![${letters.join('')}])` : '';
  return { boundary: new RegExp(`${other}\\p{L}(?= \\p{L})`, 'gu'), dropped: 1, characters: 1 << 11 };
}

/** Pieces of a text, each but the last of at least `characters` UTF-16 units. */
export function* piecesOf(text: string, { boundary, dropped, characters }: Cut): Iterable<string> {
  let start = 0;
  while (text.length - start > characters) {
    boundary.lastIndex = start + characters - 1;
    const found = boundary.exec(text);
    if (found === null) break;
    const end = found.index + found[0].length;
    yield text.slice(start, end);
    start = end + dropped;
  }
  yield text.slice(start);
}

function partsOf(part: TokenizerPart | null | undefined, list: string): readonly TokenizerPart[] {
  if (!part) return [];
  if (part.type !== 'Sequence') return [part];
  return (part[list] as readonly TokenizerPart[]).flatMap((child) => partsOf(child, list));
}

function splitsIntoWords(part: TokenizerPart): boolean {
  if (part.type === 'ByteLevel') return part.add_prefix_space === false && part.use_regex !== false;
  if (part.type !== 'Split' || part.behavior !== 'Isolated' || part.invert === true) return false;
  const { Regex: pattern } = (part.pattern ?? {}) as { Regex?: string };
  return pattern !== undefined && LETTER_ENDS_BEFORE_SPACE.has(pattern);
}

function keepsWords(part: TokenizerPart): boolean {
  return part.type === 'Digits' || (part.type === 'ByteLevel' && part.add_prefix_space === false);
}

/** An added token that lies across a cut, or takes the space at one, would be lost. */
function keepsToItself({ content, lstrip, rstrip }: NonNullable<TokenizerLayout['added_tokens']>[number]): boolean {
  if (LETTER_SPACE.test(content)) return false;
  return !(rstrip && LETTER_AT_END.test(content)) && !(lstrip && LETTER_AT_START.test(content));
}

function writesSpaces(part: TokenizerPart): boolean {
  if (part.type === 'Replace') return part.content === MARK && (part.pattern as { String?: string }).String === ' ';
  return putsSpaceBefore(part);
}

function putsSpaceBefore(part: TokenizerPart): boolean {
  if (part.type === 'Prepend') return part.prepend === MARK;
  return (
    part.type === 'Metaspace' && part.replacement === MARK && ['always', 'first'].includes(String(part.prepend_scheme))
  );
}

/** Letters that some token has before a ▁. */
function lettersBeforeMark(vocabulary: Readonly<Record<string, number>>): readonly string[] {
  const tokens = Object.keys(vocabulary).join('\n');
  return [...new Set(Array.from(tokens.matchAll(/(\p{L})▁/gu), ([, letter]) => letter as string))];
}
