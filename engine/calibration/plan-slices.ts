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

/** The first sequences of a slice, which the original model is run on too, where that is needed. */
export function originalSequences(sequences: number, share: number): number {
  return Math.ceil(sequences * share);
}
