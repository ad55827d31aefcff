import { roundToFloat16 } from '../numbers/float16';
import { roundSmall, SMALLEST_SCALE } from './code-grid';
import { inverseFactor } from './inverse-factor';
import { LEAST_GAIN } from './least-gain';
import type { RefinementState } from './refine';
import { applyMoves } from './refine-codes';

/** Larger groups are left as they are: a group costs its square. */
const LARGEST_GROUP = 256;

/** Share of the mean diagonal that is added to a group's Hessian before it is factorized. */
const DAMPING = 0.01;

/** Scales that are tried, relative to the present one, and shifts of the zero point. */
const SYMMETRIC = [1, 0.95, 1.05, 0.9, 1.1, 0.85, 0.975, 1.025].map((multiple) => ({ multiple, shift: 0 }));
const ASYMMETRIC = [
  ...[1, 0.95, 1.05, 0.9, 1.1, 0.85].map((multiple) => ({ multiple, shift: 0 })),
  ...[1, 0.95, 1.05, 0.9, 1.1].map((multiple) => ({ multiple, shift: -1 })),
  ...[1, 0.95, 1.05, 0.9, 1.1].map((multiple) => ({ multiple, shift: 1 })),
];

/** What all rows share of one group; columns by falling diagonal of the Hessian. null: not positive definite, or too large. */
interface GroupFactor {
  /** `[width]`: the column of each place, within the group. */
  readonly order: Int32Array;
  /** `[width, width]`: H of the group. */
  readonly hessian: Float64Array;
  /** `[width, width]`: Uᵀ of its damped inverse. */
  readonly factor: Float64Array;
}

/** One for each group. */
export function factorizeGroups(hessian: Float64Array, columns: number, groupSize: number): (GroupFactor | null)[] {
  const groups = Math.ceil(columns / groupSize);
  return Array.from({ length: groups }, (_, group) => {
    const first = group * groupSize;
    return groupSize > LARGEST_GROUP
      ? null
      : factorizeGroup(hessian, columns, first, Math.min(groupSize, columns - first));
  });
}

function factorizeGroup(hessian: Float64Array, columns: number, first: number, width: number): GroupFactor | null {
  const at = (i: number, j: number) => hessian[(first + i) * columns + first + j] as number;
  const order = Int32Array.from({ length: width }, (_, i) => i).sort((a, b) => at(b, b) - at(a, a) || a - b);
  const block = new Float64Array(width * width);
  let trace = 0;
  for (let i = 0; i < width; i++) {
    for (let j = 0; j < width; j++) block[i * width + j] = at(order[i] as number, order[j] as number);
    trace += block[i * width + i] as number;
  }
  const damped = block.slice();
  for (let i = 0; i < width; i++) damped[i * width + i] = (damped[i * width + i] as number) + (DAMPING * trace) / width;
  const factor = new Float64Array(width * width);
  return inverseFactor(damped, factor, width) ? { order, hessian: block, factor } : null;
}

/**
 * Every group of every row is solved again with all else given: for several scales and zero points around the present ones, codes by
 * successive rounding towards the group's continuous optimum (GPTQ within the group, on what the full Hessian leaves of it), one
 * sweep of coordinate descent, and the closed-form scale. The best replaces what was there if it lowers `tr((W - Q) H (W - Q)ᵀ)`.
 *
 * Reaches what single codes and single scales do not: a group's zero point, and many codes at once.
 */
export function resolveGroups(
  state: RefinementState,
  factors: readonly (GroupFactor | null)[],
  errors: Float64Array,
): void {
  factors.forEach((factor, group) => {
    for (let row = 0; factor && row < state.rows; row++) {
      if (!state.settled[row]) resolveGroup(state, factor, row, group, errors[row] as number);
    }
  });
}

/** `errors`: the row's error before this round. */
function resolveGroup(state: RefinementState, factor: GroupFactor, row: number, group: number, error: number): void {
  const { columns, groupSize, groups, grid, scales, zeros, steps, gradient, projections } = state;
  const width = factor.order.length;
  const first = row * columns + group * groupSize;
  const at = row * groups + group;
  const scale = scales[at] as number;
  const zero = zeros[at] as number;
  const given = prepare(factor, steps.subarray(first, first + width), gradient.subarray(first, first + width), scale);

  let best: Candidate | null = null;
  let least = 0;
  for (const { multiple, shift } of grid.symmetric ? SYMMETRIC : ASYMMETRIC) {
    const tried = roundToFloat16(scale * multiple);
    const candidate = {
      scale: tried < SMALLEST_SCALE || tried === Number.POSITIVE_INFINITY ? scale : tried,
      zero: grid.symmetric ? zero : Math.min(grid.levels, Math.max(grid.minimumZero, zero + shift)),
      steps: new Float64Array(width),
    };
    const change = solve(factor, given, candidate, grid.levels);
    if (change < least - LEAST_GAIN * error) {
      least = change;
      best = candidate;
    }
  }
  if (!best) return;
  for (let i = 0; i < columns; i++) {
    const p = projections[at * columns + i] as number;
    gradient[row * columns + i] = (gradient[row * columns + i] as number) + (best.scale - scale) * p;
  }
  scales[at] = best.scale;
  zeros[at] = best.zero;
  const places = new Float64Array(width);
  for (let i = 0; i < width; i++) places[factor.order[i] as number] = best.steps[i] as number;
  const moved = new Int32Array(width + 4);
  const moves = new Float64Array(width + 4);
  let count = 0;
  for (let i = 0; i < width; i++) {
    const by = (places[i] as number) - (steps[first + i] as number);
    if (by === 0) continue;
    moved[count] = group * groupSize + i;
    moves[count] = by;
    count += 1;
    steps[first + i] = places[i] as number;
  }
  if (count > 0) applyMoves(state, row, group, count, moved, moves);
}

interface Candidate {
  scale: number;
  readonly zero: number;
  /** `[width]`, written. */
  readonly steps: Float64Array;
}

/** What does not depend on the candidate, `[width]` each. */
interface Given {
  /** v + G H⁻¹: where the group would lie if it were not quantized. */
  readonly target: Float64Array;
  /** G + v H: the gradient if the group were nothing. */
  readonly base: Float64Array;
  /** The error that the group makes as it is, but for a constant, negated. */
  readonly before: number;
}

function prepare(
  { order, hessian, factor }: GroupFactor,
  steps: Float64Array,
  gradient: Float64Array,
  scale: number,
): Given {
  const width = order.length;
  const present = Float64Array.from(order, (column) => (steps[column] as number) * scale);
  const slope = Float64Array.from(order, (column) => gradient[column] as number);
  const pulled = new Float64Array(width);
  const target = new Float64Array(width);
  const base = new Float64Array(width);
  let before = 0;
  for (let j = 0; j < width; j++) {
    for (let k = 0; k <= j; k++) {
      pulled[k] = (pulled[k] as number) + (factor[j * width + k] as number) * (slope[j] as number);
    }
  }
  for (let i = 0; i < width; i++) {
    let way = 0;
    for (let k = 0; k <= i; k++) way += (factor[i * width + k] as number) * (pulled[k] as number);
    target[i] = (present[i] as number) + way;
    base[i] = (slope[i] as number) + weightedSum(present, hessian, i * width, width);
    before += (present[i] as number) * ((base[i] as number) + (slope[i] as number));
  }
  return { target, base, before };
}

/** Writes the candidate's steps and scale. @returns the change of the row's error. */
function solve(
  { hessian, factor, order }: GroupFactor,
  { target, base, before }: Given,
  candidate: Candidate,
  levels: number,
): number {
  const { steps, zero } = candidate;
  const width = order.length;
  const clamp = (x: number) => Math.min(levels - zero, Math.max(-zero, x));
  const errors = new Float64Array(width);
  for (let i = 0; i < width; i++) {
    const w = (target[i] as number) - weightedSum(errors, factor, i * width, i);
    const step = clamp(roundSmall(w / candidate.scale));
    steps[i] = step;
    errors[i] = (w - step * candidate.scale) / (factor[i * width + i] as number);
  }
  for (let i = 0; i < width; i++) {
    const curvature = hessian[i * width + i] as number;
    if (!(curvature > 0)) continue;
    const near = (base[i] as number) - candidate.scale * weightedSum(steps, hessian, i * width, width);
    steps[i] = clamp(roundSmall((steps[i] as number) + near / (curvature * candidate.scale)));
  }
  let curvature = 0;
  let slope = 0;
  for (let i = 0; i < width; i++) {
    curvature += (steps[i] as number) * weightedSum(steps, hessian, i * width, width);
    slope += (steps[i] as number) * (base[i] as number);
  }
  const better = roundToFloat16(slope / curvature);
  if (curvature > 0 && better >= SMALLEST_SCALE && better < Number.POSITIVE_INFINITY) candidate.scale = better;
  return candidate.scale * (candidate.scale * curvature - 2 * slope) + before;
}

/** `Σ weights[offset + i] values[i]` over the first so many. */
function weightedSum(values: Float64Array, weights: Float64Array, offset: number, count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += (weights[offset + i] as number) * (values[i] as number);
  return sum;
}
