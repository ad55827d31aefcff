import type { ModelShape } from '../models/architecture';

/** Multiplies embedded tokens `[tokens, hiddenSize]`, in place, where the model does so. */
export function scaleEmbedding(
  hidden: Float32Array,
  { embeddingScale }: Pick<ModelShape, 'embeddingScale'>,
): Float32Array {
  if (embeddingScale === undefined) return hidden;
  for (let i = 0; i < hidden.length; i++) hidden[i] = (hidden[i] as number) * embeddingScale;
  return hidden;
}
