import { bool, type GgufMetadata, type GgufValue, uint32 } from '../container/gguf-value';
import type { BpeVocabulary } from './bpe-vocabulary';
import { elementsOf, isObject, type TokenizerSource } from './tokenizer-source';

/** Roles in tokenizer_config.json (`bos_token`) and config.json (`bos_token_id`), and their keys. */
export const SPECIAL_ROLES = {
  bos: 'bos_token_id',
  eos: 'eos_token_id',
  unk: 'unknown_token_id',
  // So spelt in the format.
  sep: 'seperator_token_id',
  pad: 'padding_token_id',
  mask: 'mask_token_id',
} as const;
type Role = keyof typeof SPECIAL_ROLES;

/** Ids of special tokens, and whether texts begin and end with one (as gguf-py's `SpecialVocab`, but always said, never left open). */
export function specialTokens(vocabulary: BpeVocabulary, source: TokenizerSource): GgufMetadata {
  const metadata = new Map<string, GgufValue>();
  for (const [role, key] of Object.entries(SPECIAL_ROLES) as [Role, string][]) {
    const id = idOf(role, vocabulary, source);
    if (id !== null) metadata.set(`tokenizer.ggml.${key}`, uint32(id));
  }
  const { first, last } = template(source);
  for (const [role, token] of [['bos', first] as const, ['eos', last] as const]) {
    const said = source.tokenizerConfig[`add_${role}_token`];
    const added = token !== null && token === contentOf(role, source);
    metadata.set(`tokenizer.ggml.add_${role}_token`, bool(typeof said === 'boolean' ? said : added));
  }
  return metadata;
}

function idOf(role: Role, vocabulary: BpeVocabulary, source: TokenizerSource): number | null {
  const content = contentOf(role, source);
  for (const token of vocabulary.added.values()) if (token.content === content) return token.id;
  const id = source.modelConfig[`${role}_token_id`];
  return typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < source.vocabularySize ? id : null;
}

function contentOf(role: Role, { tokenizerConfig }: TokenizerSource): string | null {
  const named = tokenizerConfig[`${role}_token`];
  const content = isObject(named) ? named.content : named;
  return typeof content === 'string' ? content : null;
}

/** The special tokens that tokenizer.json puts around a text. */
function template({ tokenizer }: TokenizerSource): { first: string | null; last: string | null } {
  for (const processor of elementsOf(tokenizer.post_processor, 'processors')) {
    const single = processor.single;
    if (processor.type !== 'TemplateProcessing' || !Array.isArray(single) || single.length < 2) continue;
    return { first: specialToken(single[0]), last: specialToken(single[single.length - 1]) };
  }
  return { first: null, last: null };
}

function specialToken(piece: unknown): string | null {
  const token = isObject(piece) ? piece.SpecialToken : null;
  return isObject(token) && typeof token.id === 'string' ? token.id : null;
}
