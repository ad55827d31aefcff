import { roundHalfAway, roundHalfEven, truncateAfterHalf } from './rounding';

// Columns: torch.round, C's roundf, C's (int)(x + 0.5).
const CASES: readonly [number, number, number, number][] = [
  [0.5, 0, 1, 1],
  [1.5, 2, 2, 2],
  [2.5, 2, 3, 3],
  [-0.5, 0, -1, 0],
  [-1.5, -2, -2, -1],
  [-2.5, -2, -3, -2],
  [0.49999999999999994, 0, 0, 1],
  [-1.2, -1, -1, 0],
  [7.7, 8, 8, 8],
  [4503599627370497, 4503599627370497, 4503599627370497, 4503599627370498],
];

test.each(CASES)(
  '%d rounds to %d half to even, %d half away from zero, %d by truncation',
  (x, even, away, truncated) => {
    expect(roundHalfEven(x) + 0).toBe(even);
    expect(roundHalfAway(x) + 0).toBe(away);
    expect(truncateAfterHalf(x) + 0).toBe(truncated);
  },
);
