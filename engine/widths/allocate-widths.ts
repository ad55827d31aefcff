import type { Recipe } from '../spec';

/** What gets one width: a linear, or several that must have the same. */
export interface WidthGroup {
  readonly weights: number;
  /** By rising bits: what the width costs the model. */
  readonly choices: readonly { readonly bits: Recipe['bits']; readonly error: number }[];
}

/** Bound on the units of bits that the table has a column for. */
const MOST_UNITS = 1 << 16;

/**
 * Chooses a width for every group: the least sum of errors whose mean of bits, weighted by weights, is at most `averageBits`. The
 * multiple-choice knapsack problem, solved exactly by dynamic programming (Kellerer, Pferschy and Pisinger 2004, Knapsack Problems,
 * section 11.5). Bits are counted in units of the greatest common divisor of the groups' weights; where that makes more than 65,536 units,
 * in larger ones, rounded up. Of equal sums the one with fewer bits in later groups wins.
 *
 * @returns bits, by group.
 * @throws RangeError when even the smallest widths have a larger mean.
 */
export function allocateWidths(groups: readonly WidthGroup[], averageBits: number): Recipe['bits'][] {
  const total = groups.reduce((sum, { weights }) => sum + weights, 0);
  const least = groups.reduce((sum, { weights, choices }) => sum + weights * (choices[0]?.bits as number), 0);
  // An average like 3.3 is not a float64; a weight more or less is none either.
  const spare = averageBits * total - least + 1e-6;
  if (spare < 0) throw new RangeError(`${averageBits} bits on average are fewer than the smallest widths have`);
  const unit = Math.max(groups.map(({ weights }) => weights).reduce(greatestCommonDivisor, 0), spare / MOST_UNITS);
  const units = Math.floor(spare / unit);
  const cost = ({ weights, choices }: WidthGroup, choice: number) =>
    Math.ceil((((choices[choice]?.bits as number) - (choices[0]?.bits as number)) * weights) / unit - 1e-9);

  // best[u]: least error of the groups so far with at most u units; taken[g][u]: the choice of group g there.
  let best = new Float64Array(units + 1);
  const taken: Uint8Array[] = [];
  for (const group of groups) {
    const next = new Float64Array(units + 1).fill(Number.POSITIVE_INFINITY);
    const choice = new Uint8Array(units + 1);
    for (const [index, { error }] of group.choices.entries()) {
      const price = cost(group, index);
      for (let u = price; u <= units; u++) {
        const sum = (best[u - price] as number) + error;
        if (sum < (next[u] as number)) {
          next[u] = sum;
          choice[u] = index;
        }
      }
    }
    best = next;
    taken.push(choice);
  }
  const widths = new Array<Recipe['bits']>(groups.length);
  let left = units;
  for (let g = groups.length - 1; g >= 0; g--) {
    const group = groups[g] as WidthGroup;
    const index = taken[g]?.[left] as number;
    widths[g] = group.choices[index]?.bits as Recipe['bits'];
    left -= cost(group, index);
  }
  return widths;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
