import type { ModelShape } from '../models/architecture';
import type { FloatTensor } from '../spec';

export interface PlacedSequences {
  readonly shape: Pick<ModelShape, 'positionOffset'>;
  readonly sequenceLength: number;
  /** Default 0. */
  readonly first?: number;
}

/**
 * Adds the learned vector of its position to every row, in place.
 *
 * @param hidden `[tokens, hiddenSize]`: whole sequences, or a part of one from position `first` on.
 * @param positions `[positionOffset + positions, hiddenSize]`, as many as the sequences need.
 */
export function addPositions(
  hidden: Float32Array,
  positions: FloatTensor,
  { shape: { positionOffset = 0 }, sequenceLength, first = 0 }: PlacedSequences,
): Float32Array {
  const width = positions.shape[1] as number;
  for (let token = 0; token < hidden.length / width; token++) {
    const from = (positionOffset + first + (token % sequenceLength)) * width;
    for (let i = 0; i < width; i++) {
      const at = token * width + i;
      hidden[at] = (hidden[at] as number) + (positions.data[from + i] as number);
    }
  }
  return hidden;
}
