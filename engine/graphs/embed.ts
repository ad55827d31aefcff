import { decodeFloats } from '../numbers';
import { DTYPE_BITS, type FloatTensor, QuantloomError, type Tensor } from '../spec';

/**
 * Rows of the embedding, one per token.
 *
 * @param embedding `[vocabulary, hiddenSize]`.
 * @returns `[tokens, hiddenSize]`.
 * @throws QuantloomError UnsupportedInput when a token is outside the vocabulary.
 */
export function embed(tokens: Int32Array, embedding: FloatTensor): Float32Array {
  return gather(tokens, embedding.data, embedding.shape);
}

/** The same from an embedding as it lies in the file: only the rows that are wanted are decoded. */
export function embedStored(tokens: Int32Array, { dtype, shape, data }: Tensor): Float32Array {
  const rowBytes = ((shape[1] as number) * DTYPE_BITS[dtype]) / 8;
  const rows = gather(tokens, data, [shape[0] as number, rowBytes]);
  return decodeFloats({ dtype, shape: [tokens.length, shape[1] as number], data: rows });
}

function gather<Elements extends Float32Array | Uint8Array>(
  tokens: Int32Array,
  table: Elements,
  [vocabulary, width]: readonly number[],
): Elements {
  const [entries, stride] = [vocabulary as number, width as number];
  const rows = new (table instanceof Float32Array ? Float32Array : Uint8Array)(tokens.length * stride) as Elements;
  tokens.forEach((token, i) => {
    if (token < 0 || token >= entries) {
      throw new QuantloomError(
        'UnsupportedInput',
        `Token ${i} is ${token}, but the model's vocabulary has ${entries} entries (0 to ${entries - 1}). Use the model's own tokenizer.`,
        { details: { index: i, token, vocabulary: entries } },
      );
    }
    rows.set(table.subarray(token * stride, (token + 1) * stride), i * stride);
  });
  return rows;
}
