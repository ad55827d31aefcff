import { QuantloomError } from '../../../spec';
import { type AddedToken, isObject, type TokenizerSource } from './tokenizer-source';

/** A tokenizer.json with a byte-pair encoding, checked. */
export interface BpeVocabulary {
  /** By id; undefined where the tokenizer has none. */
  readonly tokens: readonly (string | undefined)[];
  readonly added: ReadonlyMap<number, AddedToken>;
  readonly merges: readonly (readonly [string, string])[];
  readonly unknownToken: string | null;
  /** Text that no token covers becomes bytes, as SentencePiece does. */
  readonly byteFallback: boolean;
  /** Whole words that are tokens are not merged together. */
  readonly ignoreMerges: boolean;
}

/** @throws QuantloomError UnsupportedInput for another kind of tokenizer, InvalidModel for a broken one. */
export function bpeVocabulary({ tokenizer, vocabularySize }: TokenizerSource): BpeVocabulary {
  const model = isObject(tokenizer.model) ? tokenizer.model : {};
  if (model.type !== 'BPE' || !isObject(model.vocab)) {
    throw new QuantloomError(
      'UnsupportedInput',
      `tokenizer.json holds a tokenizer of type ${JSON.stringify(model.type ?? null)}; BPE can be written to GGUF.`,
    );
  }
  const tokens = new Array<string | undefined>(vocabularySize);
  for (const [token, id] of Object.entries(model.vocab)) tokens[checkedId(id, token, vocabularySize)] = token;
  const added = new Map<number, AddedToken>();
  for (const entry of Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens : []) {
    if (!isObject(entry) || typeof entry.content !== 'string') throw invalid('an added token has no content');
    const id = checkedId(entry.id, entry.content, vocabularySize);
    tokens[id] = entry.content;
    added.set(id, { id, content: entry.content, special: entry.special === true });
  }
  return {
    tokens,
    added,
    merges: (Array.isArray(model.merges) ? model.merges : []).map(mergeOf),
    unknownToken: typeof model.unk_token === 'string' ? model.unk_token : null,
    byteFallback: model.byte_fallback === true,
    ignoreMerges: model.ignore_merges === true,
  };
}

/** Since transformers 4.45 a pair, before that two words in one string. */
function mergeOf(merge: unknown, index: number): readonly [string, string] {
  const parts: unknown = typeof merge === 'string' ? merge.split(' ') : merge;
  if (Array.isArray(parts) && parts.length === 2) {
    const [left, right]: readonly unknown[] = parts;
    if (typeof left === 'string' && typeof right === 'string') return [left, right];
  }
  throw invalid(`merge ${index} is not a pair of tokens`);
}

function checkedId(id: unknown, token: string, vocabularySize: number): number {
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < vocabularySize) return id;
  throw invalid(
    `token ${JSON.stringify(token.slice(0, 80))} has id ${JSON.stringify(id)}; the model has ids 0 to ${vocabularySize - 1}`,
  );
}

function invalid(fault: string): QuantloomError {
  return new QuantloomError('InvalidModel', `tokenizer.json: ${fault}. Fetch the model again.`);
}
