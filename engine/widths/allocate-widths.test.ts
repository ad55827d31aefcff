import fc from 'fast-check';
import { allocateWidths, type WidthGroup } from './allocate-widths';

const WIDTHS = [2, 3, 4, 8] as const;

function group(weights: number, errors: readonly number[]): WidthGroup {
  return { weights, choices: WIDTHS.map((bits, i) => ({ bits, error: errors[i] as number })) };
}

/** Every combination of widths. */
function leastError(groups: readonly WidthGroup[], budget: number): number {
  const [first, ...rest] = groups;
  if (!first) return budget >= -1e-6 ? 0 : Number.POSITIVE_INFINITY;
  const sums = first.choices.map(({ bits, error }) => error + leastError(rest, budget - bits * first.weights));
  return Math.min(...sums);
}

function errorOf(groups: readonly WidthGroup[], widths: readonly number[]): number {
  return groups.reduce(
    (sum, { choices }, g) => sum + (choices.find(({ bits }) => bits === widths[g])?.error as number),
    0,
  );
}

describe('allocateWidths', () => {
  const groups = fc.array(
    fc
      .tuple(
        fc.integer({ min: 1, max: 12 }),
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: WIDTHS.length, maxLength: WIDTHS.length }),
      )
      .map(([weights, errors]) =>
        group(
          weights * 4096,
          errors.sort((a, b) => b - a),
        ),
      ),
    { minLength: 1, maxLength: 5 },
  );

  it('has the least error of all widths whose mean is small enough', () => {
    fc.assert(
      fc.property(groups, fc.double({ min: 2, max: 8, noNaN: true }), (list, average) => {
        const weights = list.reduce((sum, one) => sum + one.weights, 0);
        const widths = allocateWidths(list, average);
        const bits = widths.reduce<number>((sum, width, g) => sum + width * (list[g]?.weights as number), 0);
        expect(bits / weights).toBeLessThanOrEqual(average + 1e-9);
        expect(errorOf(list, widths)).toBeCloseTo(leastError(list, average * weights), 9);
      }),
    );
  });

  it('gives bits to the linear that they help most', () => {
    const [robust, sensitive] = [group(100, [0.2, 0.1, 0.05, 0]), group(100, [0.9, 0.4, 0.1, 0])];
    expect(allocateWidths([robust, sensitive], 3)).toEqual([2, 4]);
    expect(allocateWidths([sensitive, robust], 3)).toEqual([4, 2]);
  });

  it('keeps to the average where sizes have no common measure', () => {
    const list = Array.from({ length: 40 }, (_, g) =>
      group(1_000_003 + 97 * g, [1 / (g + 1), 0.4 / (g + 1), 0.1 / (g + 1), 0]),
    );
    const widths = allocateWidths(list, 3.3);
    const weights = list.reduce((sum, one) => sum + one.weights, 0);
    const mean = widths.reduce<number>((sum, width, g) => sum + width * (list[g]?.weights as number), 0) / weights;
    expect(mean).toBeLessThanOrEqual(3.3);
    expect(mean).toBeGreaterThan(3.27);
  });

  it('takes an average that is not a float64', () => {
    const list = Array.from({ length: 10 }, () => group(7, [1, 0.5, 0.25, 0]));
    expect(allocateWidths(list, 2.3).filter((width) => width === 3)).toHaveLength(3);
  });

  it('refuses an average below the smallest widths', () => {
    expect(() => allocateWidths([group(10, [1, 1, 1, 1])], 1.9)).toThrow(RangeError);
  });
});
