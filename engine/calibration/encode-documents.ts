import type { TextTokenizer } from './load-tokenizer';

/**
 * Encodes documents one by one and puts the model's end-of-text token between them (nothing where the model names none).
 */
export async function encodeDocuments(tokenizer: TextTokenizer, documents: readonly string[]): Promise<Int32Array> {
  const separator = tokenizer.endOfText === null ? [] : [tokenizer.endOfText];
  const parts: ArrayLike<number>[] = [];
  for (const document of documents) {
    if (parts.length > 0) parts.push(separator);
    parts.push(await tokenizer.encode(document));
  }
  const tokens = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let start = 0;
  for (const part of parts) {
    tokens.set(part, start);
    start += part.length;
  }
  return tokens;
}
