import { originalSequences, planSlices } from './plan-slices';

describe('slices of the calibration set', () => {
  it('hold whole sequences, as many as their tokens allow, at least one', () => {
    expect(planSlices(10, 512, 2048)).toEqual([
      { firstSequence: 0, sequences: 4 },
      { firstSequence: 4, sequences: 4 },
      { firstSequence: 8, sequences: 2 },
    ]);
    expect(planSlices(2, 4096, 2048)).toEqual([
      { firstSequence: 0, sequences: 1 },
      { firstSequence: 1, sequences: 1 },
    ]);
  });

  it('show the original model a share of all sequences, in as few slices as hold it', () => {
    const slices = planSlices(10, 512, 2048);
    expect(originalSequences(slices, 1 / 16)).toEqual([1, 0, 0]);
    expect(originalSequences(slices, 0.6)).toEqual([4, 2, 0]);
    expect(originalSequences(slices, 1)).toEqual([4, 4, 2]);
  });
});
