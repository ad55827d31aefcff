import { InferenceSession, Tensor } from 'onnxruntime-node';

/** A decoder with a key-value cache, run by onnxruntime as its documentation of GroupQueryAttention says. */
export interface OnnxDecoder {
  /**
   * Logits `[batch, tokens, vocabulary]` of the next tokens `[batch, tokens]`; what came before is in the cache. `lengths`: of each sequence of
   * a first call, the rest is padding.
   */
  advance(tokens: readonly (readonly number[])[], lengths?: readonly number[]): Promise<Float32Array>;
  close(): Promise<void>;
}

export async function openOnnxDecoder(model: string): Promise<OnnxDecoder> {
  const session = await InferenceSession.create(model, { intraOpNumThreads: 1, executionProviders: ['cpu'] });
  const pasts = session.inputMetadata.filter(({ name }) => name.startsWith('past_key_values.'));
  let cache: Record<string, Tensor> | null = null;
  let seen = 0;

  return {
    async advance(tokens, lengths) {
      const batch = tokens.length;
      const length = tokens[0]?.length as number;
      cache ??= Object.fromEntries(
        pasts.map((past) => {
          const [, heads, , size] = past.isTensor ? past.shape : [];
          return [past.name, new Tensor('float32', new Float32Array(0), [batch, Number(heads), 0, Number(size)])];
        }),
      );
      seen += length;
      const mask = tokens.map((_, i) =>
        BigInt64Array.from({ length: seen }, (_, at) => (at < (lengths?.[i] ?? seen) ? 1n : 0n)),
      );
      const outputs: InferenceSession.OnnxValueMapType = await session.run({
        input_ids: new Tensor('int64', BigInt64Array.from(tokens.flat(), BigInt), [batch, length]),
        attention_mask: new Tensor('int64', BigInt64Array.from(mask.flatMap((row) => [...row])), [batch, seen]),
        ...cache,
      });
      cache = Object.fromEntries(
        pasts.map(({ name }) => [name, outputs[name.replace('past_key_values', 'present')] as Tensor]),
      );
      return (outputs.logits as Tensor).data as Float32Array;
    },
    close: () => session.release(),
  };
}
