import { joinTokens } from './join-tokens';
import type { TextTokenizer } from './load-tokenizer';

/**
 * Encodes documents one by one and puts the model's end-of-text token between them (nothing where the model names none).
 *
 * @param limits.most only the first so many tokens are wanted.
 */
export async function encodeDocuments(
  tokenizer: TextTokenizer,
  documents: readonly string[],
  { most = Number.POSITIVE_INFINITY }: { readonly most?: number } = {},
): Promise<Int32Array> {
  const separator = tokenizer.endOfText === null ? [] : [tokenizer.endOfText];
  const parts: ArrayLike<number>[] = [];
  let count = 0;
  for (const document of documents) {
    if (count >= most) break;
    if (parts.length > 0) parts.push(separator);
    const tokens = await tokenizer.encode(document, { most });
    parts.push(tokens);
    count += tokens.length;
  }
  return joinTokens(parts).slice(0, most);
}
