/**
 * Cutting a long text so that its pieces encode to the same tokens as the whole.
 *
 * Byte-level BPE first splits text into words by a regular expression that runs from left to right, then encodes each word by
 * itself. In the expressions below no alternative goes on from a letter into a space or line break, and none looks back; so
 * between a letter and a space there is always an end of a word, whatever comes before or after. A cut there changes no token.
 */

/** GPT-2; Llama 3 and cl100k; Qwen 2. */
const LETTER_ENDS_BEFORE_SPACE: ReadonlySet<string> = new Set([
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
]);

const BOUNDARY = /\p{L}[ \n]/gu;
const LETTER_SPACE = /\p{L}\s/u;
const LETTER_AT_END = /\p{L}$/u;

/** The parts of tokenizer.json that decide where text may be cut. */
export interface TokenizerLayout {
  readonly normalizer?: TokenizerPart | null;
  readonly pre_tokenizer?: TokenizerPart | null;
  readonly model?: { readonly type?: string } | null;
  readonly added_tokens?: readonly { readonly content: string; readonly rstrip?: boolean }[];
}

export interface TokenizerPart {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** Whether this tokenizer is known to end a word between a letter and a space. SentencePiece-type ones do not: space joins words. */
export function allowsCutting(layout: TokenizerLayout, config: Readonly<Record<string, unknown>>): boolean {
  if (layout.model?.type !== 'BPE' || config.remove_space === true || config.do_lowercase_and_remove_accent === true)
    return false;
  const normalizers = partsOf(layout.normalizer, 'normalizers');
  const preTokenizers = partsOf(layout.pre_tokenizer, 'pretokenizers');
  return (
    normalizers.every(({ type }) => type === 'NFC') &&
    preTokenizers.every((part) => splitsIntoWords(part) || keepsWords(part)) &&
    preTokenizers.some(splitsIntoWords) &&
    (layout.added_tokens ?? []).every(
      ({ content, rstrip }) => !LETTER_SPACE.test(content) && !(rstrip && LETTER_AT_END.test(content)),
    )
  );
}

/** Pieces of at least `characters` UTF-16 units, but for the last; joined they are the text. */
export function* piecesOf(text: string, characters: number): Iterable<string> {
  let start = 0;
  while (text.length - start > characters) {
    BOUNDARY.lastIndex = start + characters - 1;
    const found = BOUNDARY.exec(text);
    if (found === null) break;
    const end = found.index + found[0].length - 1;
    yield text.slice(start, end);
    start = end;
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
