import { float32s, type GgufMetadata, int32s, text, texts } from '../container/gguf-value';
import type { BpeVocabulary } from './bpe-vocabulary';
import { preTokenizerName } from './pre-tokenizers';
import { TOKEN_TYPES, type TokenizerSource } from './tokenizer-source';

const BYTE_TOKEN = /^<0x[0-9A-Fa-f]{2}>$/;
/** Tokens that some models forget to mark as special (llama.cpp, conversion/base.py, `does_token_look_special`). */
const LOOKS_SPECIAL = /^(<pad>|<mask>|<2mass>|\[@BOS@\]|<\|.*\|>|<｜.*｜>|<unused.*>)$/s;
/** The letter that stands for a space in byte-level tokens. */
const BYTE_LEVEL_SPACE = 'Ġ';

/** Byte-level BPE: tokens, their types, merges, and how texts are split. */
export function byteLevelTokens(vocabulary: BpeVocabulary, source: TokenizerSource): GgufMetadata {
  const encoded = (part: string) => part.replaceAll(' ', BYTE_LEVEL_SPACE);
  return new Map([
    ['tokenizer.ggml.model', text('gpt2')],
    ['tokenizer.ggml.pre', text(preTokenizerName(source, vocabulary.ignoreMerges))],
    ...listsOf(vocabulary),
    ['tokenizer.ggml.merges', texts(vocabulary.merges.map(([left, right]) => `${encoded(left)} ${encoded(right)}`))],
  ]);
}

/**
 * SentencePiece's BPE, which tokenizer.json holds as merges with byte fallback. llama.cpp merges the pair whose token has the best
 * score, so a token's score is the negative rank of the merge that makes it.
 */
export function sentencePieceTokens(vocabulary: BpeVocabulary): GgufMetadata {
  const ranks = new Map<string, number>();
  vocabulary.merges.forEach(([left, right], rank) => {
    if (!ranks.has(left + right)) ranks.set(left + right, rank);
  });
  const scores = Float32Array.from(vocabulary.tokens, (token, id) => {
    if (token === undefined || vocabulary.added.has(id) || BYTE_TOKEN.test(token)) return 0;
    return -(ranks.get(token) ?? vocabulary.merges.length);
  });
  return new Map([
    ['tokenizer.ggml.model', text('llama')],
    ['tokenizer.ggml.pre', text('default')],
    ...listsOf(vocabulary),
    ['tokenizer.ggml.scores', float32s(scores)],
  ]);
}

function listsOf(vocabulary: BpeVocabulary): GgufMetadata {
  const types = new Int32Array(vocabulary.tokens.length);
  const names = Array.from(vocabulary.tokens, (token, id) => {
    types[id] = typeOf(token, id, vocabulary);
    if (token === undefined) return `[PAD${id}]`;
    return types[id] === TOKEN_TYPES.userDefined ? token.replaceAll('▁', ' ') : token;
  });
  return new Map([
    ['tokenizer.ggml.tokens', texts(names)],
    ['tokenizer.ggml.token_type', int32s(types)],
  ]);
}

function typeOf(token: string | undefined, id: number, vocabulary: BpeVocabulary): number {
  if (token === undefined) return TOKEN_TYPES.unused;
  if (vocabulary.byteFallback && token === vocabulary.unknownToken) return TOKEN_TYPES.unknown;
  const added = vocabulary.added.get(id);
  if (added !== undefined) {
    return added.special || LOOKS_SPECIAL.test(token) ? TOKEN_TYPES.control : TOKEN_TYPES.userDefined;
  }
  return vocabulary.byteFallback && BYTE_TOKEN.test(token) ? TOKEN_TYPES.byte : TOKEN_TYPES.normal;
}
