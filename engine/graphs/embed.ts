import { type FloatTensor, QuantloomError } from '../spec';

/**
 * Rows of the embedding, one per token.
 *
 * @param embedding `[vocabulary, hiddenSize]`.
 * @returns `[tokens, hiddenSize]`.
 * @throws QuantloomError UnsupportedInput when a token is outside the vocabulary.
 */
export function embed(tokens: Int32Array, embedding: FloatTensor): Float32Array {
  const [vocabulary, hiddenSize] = embedding.shape as [number, number];
  const hidden = new Float32Array(tokens.length * hiddenSize);
  tokens.forEach((token, i) => {
    if (token < 0 || token >= vocabulary) {
      throw new QuantloomError(
        'UnsupportedInput',
        `Token ${i} is ${token}, but the model's vocabulary has ${vocabulary} entries (0 to ${vocabulary - 1}). Use the model's own tokenizer.`,
        { details: { index: i, token, vocabulary } },
      );
    }
    hidden.set(embedding.data.subarray(token * hiddenSize, (token + 1) * hiddenSize), i * hiddenSize);
  });
  return hidden;
}
