import { z } from 'zod';
import { QuantloomError } from '../spec';
import type { TokenizerLayout } from './safe-boundaries';

/** The largest vocabularies have a million tokens; the library keeps them in an array by id, holes included. */
const LARGEST_ID = (1 << 23) - 1;

const Part = z.looseObject({ type: z.string() });

/** What everything that looks into a tokenizer.json relies on. */
const Layout = z.looseObject({
  normalizer: Part.nullish(),
  pre_tokenizer: Part.nullish(),
  decoder: Part.nullish(),
  post_processor: Part.nullish(),
  added_tokens: z.array(z.looseObject({ id: z.custom(isId), content: z.string().min(1) })).nullish(),
  model: z.looseObject({
    type: z.string().nullish(),
    vocab: z.custom(isVocabulary),
    merges: z.custom(isMerges).nullish(),
  }),
});

function isId(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= LARGEST_ID;
}

/** Ids by token, or the list of Unigram models: tokens with their scores. */
function isVocabulary(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (!Array.isArray(value)) return Object.values(value).every(isId);
  return value.every((entry) => Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'number');
}

function isMerges(value: unknown): boolean {
  const isPair = (entry: unknown) =>
    typeof entry === 'string' ||
    (Array.isArray(entry) && entry.length === 2 && entry.every((part) => typeof part === 'string'));
  return Array.isArray(value) && value.every(isPair);
}

/** @throws QuantloomError InvalidModel naming the place. */
export function checkTokenizer(file: string, json: unknown): TokenizerLayout {
  const { success, error } = Layout.safeParse(json);
  if (success) return json as TokenizerLayout;
  const path = error.issues[0]?.path ?? [];
  const place = path.length > 0 ? path.join('.') : 'the document';
  throw new QuantloomError(
    'InvalidModel',
    `${file}: ${place} is not what a tokenizer has there. Fetch the model again.`,
    { details: { file, place } },
  );
}
