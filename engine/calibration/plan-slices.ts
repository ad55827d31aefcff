import type { ModelPlan } from '../spec';

/**
 * Cuts the calibration set into slices of at most `sliceTokens` tokens, whole sequences each, at least one. All slices but the last
 * hold the same number of sequences.
 */
export function planSlices(samples: number, sequenceLength: number, sliceTokens: number): ModelPlan['slices'] {
  const perSlice = Math.max(1, Math.floor(sliceTokens / sequenceLength));
  return Array.from({ length: Math.ceil(samples / perSlice) }, (_, slice) => ({
    firstSequence: slice * perSlice,
    sequences: Math.min(perSlice, samples - slice * perSlice),
  }));
}

/**
 * Where the original model is run too: how many of the first sequences of each slice. A share of the whole set, in as few slices as
 * hold it, so that the weights are read for few.
 */
export function originalSequences(slices: ModelPlan['slices'], share: number): number[] {
  let left = Math.ceil(share * slices.reduce((sum, { sequences }) => sum + sequences, 0));
  return slices.map(({ sequences }) => {
    const taken = Math.min(left, sequences);
    left -= taken;
    return taken;
  });
}
