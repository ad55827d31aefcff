import type { FloatTensor } from '../spec';

/**
 * Adds the learned vector of its position to every row, in place.
 *
 * @param hidden `[tokens, hiddenSize]`: whole sequences, or a part of one from position `first` on.
 * @param positions `[positions, hiddenSize]`, as many as the sequences need.
 */
export function addPositions(
  hidden: Float32Array,
  positions: FloatTensor,
  { sequenceLength, first = 0 }: { readonly sequenceLength: number; readonly first?: number },
): Float32Array {
  const width = positions.shape[1] as number;
  for (let token = 0; token < hidden.length / width; token++) {
    const from = (first + (token % sequenceLength)) * width;
    for (let i = 0; i < width; i++) {
      const at = token * width + i;
      hidden[at] = (hidden[at] as number) + (positions.data[from + i] as number);
    }
  }
  return hidden;
}
