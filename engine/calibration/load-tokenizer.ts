import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Tokenizer } from '@huggingface/tokenizers';
import { QuantloomError } from '../spec';
import { checkTokenizer } from './check-tokenizer';
import { joinTokens } from './join-tokens';
import { type Cut, cutFor, piecesOf } from './safe-boundaries';
import { withUnicodeDigits } from './unicode-digits';

type Json = Readonly<Record<string, unknown>>;

export interface TextTokenizer {
  /**
   * Token ids of a text as transformers gives them with `add_special_tokens=False`; special tokens that are spelled out in the text
   * are recognized. Long texts are encoded in pieces where that provably gives the same ids, so that other work gets its turn.
   *
   * @param limits.most only the first so many tokens are wanted: what lies far behind them is not looked at.
   */
  encode(text: string, limits?: { readonly most?: number }): Promise<Int32Array>;

  /** Text of the tokens, special ones included; `skipSpecialTokens` leaves them out. */
  decode(tokens: ArrayLike<number>, options?: { readonly skipSpecialTokens?: boolean }): string;

  /** Ends a document; null: the model names none. */
  readonly endOfText: number | null;

  /** Ids are below this. */
  readonly vocabularySize: number;
}

/**
 * Loads tokenizer.json of a model's directory; tokenizer_config.json and config.json are asked for the token that ends a text, and
 * may be absent.
 *
 * @throws QuantloomError InvalidModel when tokenizer.json is missing or is none, UnsupportedInput when its kind of tokenizer is
 * not known; encoding and decoding throw the latter too.
 */
export async function loadTokenizer(directory: string): Promise<TextTokenizer> {
  const file = path.join(directory, 'tokenizer.json');
  const layout = await readJson(file);
  if (layout === null) {
    throw new QuantloomError(
      'InvalidModel',
      `${file} is missing: text cannot be turned into tokens. Copy it from where the model comes from` +
        ' (a model with tokenizer.model only: save it once with transformers, which writes tokenizer.json).',
      { details: { file } },
    );
  }
  const config = await readObject(path.join(directory, 'tokenizer_config.json'));
  const modelConfig = await readObject(path.join(directory, 'config.json'));
  const checked = checkTokenizer(file, layout);
  /** The library trusts what it is given. */
  const usable = <T>(work: () => T): T => {
    try {
      return work();
    } catch (error) {
      throw new QuantloomError(
        'UnsupportedInput',
        `${file} describes a tokenizer that cannot be used: ${(error as Error).message}. Is the file complete?`,
        { cause: error, details: { file } },
      );
    }
  };
  const tokenizer = usable(() => new Tokenizer(withUnicodeDigits(checked), config));
  const cut = usable(() => cutFor(checked, config));
  return {
    encode: (text, { most = Number.POSITIVE_INFINITY } = {}) =>
      encode((piece) => usable(() => tokenizer.encode(piece, { add_special_tokens: false }).ids), text, cut, most),
    decode: (tokens, { skipSpecialTokens = false } = {}) => usable(() => decode(tokenizer, tokens, skipSpecialTokens)),
    endOfText: endOfText(tokenizer, config, modelConfig),
    vocabularySize: vocabularySize(tokenizer),
  };
}

type Encode = (piece: string) => readonly (number | null | undefined)[];

async function encode(idsOf: Encode, text: string, cut: Cut | null, most: number): Promise<Int32Array> {
  const parts: number[][] = [];
  let count = 0;
  for (const piece of cut ? piecesOf(text, cut) : [text]) {
    if (count >= most) break;
    if (parts.length > 0) await nextTurn();
    // transformers leaves out what the vocabulary has no token for.
    const part = idsOf(piece).filter((id) => id !== null && id !== undefined);
    parts.push(part);
    count += part.length;
  }
  return joinTokens(parts).slice(0, most);
}

function decode(tokenizer: Tokenizer, tokens: ArrayLike<number>, skipSpecialTokens: boolean): string {
  if (tokens.length === 0) return '';
  return tokenizer.decode(Array.from(tokens), {
    skip_special_tokens: skipSpecialTokens,
    clean_up_tokenization_spaces: false,
  });
}

function vocabularySize(tokenizer: Tokenizer): number {
  let largest = -1;
  for (const id of tokenizer.get_vocab().values()) largest = Math.max(largest, id);
  return largest + 1;
}

function endOfText(tokenizer: Tokenizer, config: Json, modelConfig: Json): number | null {
  const named = config.eos_token;
  const content = typeof named === 'object' && named !== null ? (named as Json).content : named;
  const id = typeof content === 'string' ? tokenizer.token_to_id(content) : undefined;
  if (id !== undefined) return id;
  // Chat models list several; the first is the one that ends a text.
  const first = Array.isArray(modelConfig.eos_token_id) ? modelConfig.eos_token_id[0] : modelConfig.eos_token_id;
  return typeof first === 'number' ? first : null;
}

/** Empty where there is none. */
async function readObject(file: string): Promise<Json> {
  const json = (await readJson(file)) ?? {};
  if (typeof json === 'object' && !Array.isArray(json)) return json as Json;
  throw new QuantloomError('InvalidModel', `${file} holds no JSON object. Fetch the model again.`, {
    details: { file },
  });
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new QuantloomError(
      'InvalidModel',
      `${file} cannot be read: ${(error as Error).message}. Fetch the model again.`,
      {
        cause: error,
        details: { file },
      },
    );
  }
}
