import { mergeMagnitudes } from './merge-magnitudes';

it('takes the largest of all slices, by input', () => {
  expect(
    mergeMagnitudes(
      [
        [1, 8],
        [3, 2],
        [2, 4],
      ].map((slice) => slice),
    ),
  ).toEqual([3, 8]);
});

it('gives an input that no token came to the magnitude of the others', () => {
  expect(
    mergeMagnitudes([
      [1, 0, 2],
      [3, 0, 1],
    ]),
  ).toEqual([3, 3, 2]);
});

it('refuses inputs that are zero on all of the calibration set', () => {
  expect(() => mergeMagnitudes([[0], [0]])).toThrow(expect.objectContaining({ code: 'InvalidCalibration' }));
});
