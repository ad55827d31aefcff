import { fitLine } from './linear-growth';

describe('the line through points', () => {
  it('is exact where they lie on one', () => {
    const line = fitLine([
      [1, 5],
      [2, 7],
      [4, 11],
    ]);
    expect(line.slope).toBeCloseTo(2, 12);
    expect(line.intercept).toBeCloseTo(3, 12);
    expect(line.determination).toBeCloseTo(1, 12);
  });

  // Anscombe's first set: slope 0.500, intercept 3.00, R² 0.667 (The American Statistician 27, 1973).
  it('is that of least squares', () => {
    const x = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5];
    const y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68];
    const line = fitLine(x.map((value, i) => [value, y[i] as number]));
    expect(line.slope).toBeCloseTo(0.5, 3);
    expect(line.intercept).toBeCloseTo(3, 2);
    expect(line.determination).toBeCloseTo(0.667, 3);
  });
});
