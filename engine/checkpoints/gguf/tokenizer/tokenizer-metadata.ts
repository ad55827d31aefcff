import { QuantloomError } from '../../../spec';
import { bool, type GgufMetadata } from '../container/gguf-value';
import { bpeVocabulary } from './bpe-vocabulary';
import { chatTemplates } from './chat-templates';
import { specialTokens } from './special-tokens';
import { byteLevelTokens, sentencePieceTokens } from './token-lists';
import { elementsOf, type TokenizerSource } from './tokenizer-source';

/**
 * The keys `tokenizer.*` of a GGUF file, so that llama.cpp makes the same tokens of a text as tokenizer.json: byte-level BPE
 * (GPT-2, Llama 3, Qwen) and SentencePiece's BPE (Llama 1 and 2, Mistral).
 *
 * @throws QuantloomError UnsupportedInput for a tokenizer that GGUF has no counterpart for, InvalidModel for a broken file.
 */
export function tokenizerMetadata(source: TokenizerSource): GgufMetadata {
  const vocabulary = bpeVocabulary(source);
  const isByteLevel = elementsOf(source.tokenizer.pre_tokenizer, 'pretokenizers').some(
    ({ type }) => type === 'ByteLevel',
  );
  if (!isByteLevel && !vocabulary.byteFallback) {
    throw new QuantloomError(
      'UnsupportedInput',
      'tokenizer.json holds a BPE that is neither byte-level nor has byte fallback; GGUF has no counterpart for it.',
    );
  }
  const space = spacePrefix(source, isByteLevel);
  return new Map([
    ...(isByteLevel ? byteLevelTokens(vocabulary, source) : sentencePieceTokens(vocabulary)),
    ...specialTokens(vocabulary, source),
    ...(space === null ? [] : [['tokenizer.ggml.add_space_prefix', bool(space)] as const]),
    ...chatTemplates(source),
  ]);
}

/** Whether a space is put before a text; null where tokenizer_config.json says nothing and llama.cpp does not ask. */
function spacePrefix({ tokenizer, tokenizerConfig }: TokenizerSource, isByteLevel: boolean): boolean | null {
  if (isByteLevel) {
    return typeof tokenizerConfig.add_prefix_space === 'boolean' ? tokenizerConfig.add_prefix_space : null;
  }
  const prepends = elementsOf(tokenizer.normalizer, 'normalizers').some(({ type }) => type === 'Prepend');
  const metaspace = elementsOf(tokenizer.pre_tokenizer, 'pretokenizers').some(
    (step) => step.type === 'Metaspace' && step.prepend_scheme !== 'never' && step.add_prefix_space !== false,
  );
  return prepends || metaspace;
}
