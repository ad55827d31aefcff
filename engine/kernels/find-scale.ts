import { roundToFloat16 } from '../numbers/float16';
import { type CodeGrid, nearestCode, roundSmall, SMALLEST_SCALE } from './code-grid';

/** How far a range may be clipped: p = 1 - step / SHRINK for step = 0 .. STEPS - 1. */
const STEPS = 70;
const SHRINK = 90;

/** Zero points that are tried, relative to that of the range. */
const ZERO_SHIFTS = [0, -1, 1];

/** Rows of weights, their groups of contiguous columns, and where the scales go. */
export interface ScaleProblem {
  /** `[rows, columns]`. */
  readonly weights: Float64Array;
  readonly rows: number;
  readonly columns: number;
  /** Columns per group; the last group has what is left. */
  readonly groupSize: number;
  /** `[columns]`, non-negative: diagonal of the Hessian, or ones. */
  readonly importance: Float64Array;
  readonly grid: CodeGrid;
  /** false: from the extremes. true: the clipping with the least error. */
  readonly search: boolean;
  /** Asymmetric: the search tries the zero points beside that of the range, too. */
  readonly neighbours?: boolean;
  /** `[rows, groups]`, written. float16 values, or Infinity where float16 cannot hold the scale. */
  readonly scales: Float32Array;
  /** `[rows, groups]`, written. */
  readonly zeros: Uint8Array;
}

/** Scale and zero point of every group of every row. */
export function findScales(problem: ScaleProblem): void {
  const groups = Math.ceil(problem.columns / problem.groupSize);
  for (let row = 0; row < problem.rows; row++) {
    for (let group = 0; group < groups; group++) findScale(problem, row, group);
  }
}

/**
 * Scale and zero point of one group of one row.
 *
 * From the extremes, as in the GPTQ lineage: symmetric `s = 2 max|w| / (2^b - 1)`; asymmetric, with min <= 0 <= max forced,
 * `s = (max - min) / (2^b - 1)`, `z = round(-min / s)`; a group of zeros counts as the range -1 .. 1. By search: the range is shrunk
 * in 70 steps down to 21/90 and the one with the least `Σ importance (w - ŵ)²` is kept, the widest among equals. Scales
 * are rounded to float16 before the error is taken. With neighbours the 70 steps are taken again with the zero point one lower, then one
 * higher: where few codes are there, a range that is not the clipped one is often the better.
 */
export function findScale(problem: ScaleProblem, row: number, group: number): void {
  const { weights, columns, groupSize, importance, grid } = problem;
  const first = group * groupSize;
  const length = Math.min(groupSize, columns - first);
  const offset = row * columns + first;
  let low = 0;
  let high = 0;
  for (let i = 0; i < length; i++) {
    const w = weights[offset + i] as number;
    if (w < low) low = w;
    if (w > high) high = w;
  }
  if (low === 0 && high === 0) {
    low = -1;
    high = 1;
  }
  if (grid.symmetric) {
    high = Math.max(high, -low);
    low = -high;
  }

  let bestError = Number.POSITIVE_INFINITY;
  let bestScale = 0;
  let bestZero = 0;
  const passes = problem.search && problem.neighbours && !grid.symmetric ? ZERO_SHIFTS.length : 1;
  const steps = problem.search ? passes * STEPS : 1;
  for (let step = 0; step < steps; step++) {
    const p = 1 - (step % STEPS) / SHRINK;
    const scale = scaleOf(low * p, high * p, grid);
    const zero = zeroOf(low * p, scale, grid, ZERO_SHIFTS[Math.floor(step / STEPS)] as number);
    let error = 0;
    // The sum only grows, so a candidate that is already behind is left early.
    for (let i = 0; problem.search && i < length && error < bestError; i++) {
      const w = weights[offset + i] as number;
      const difference = (nearestCode(w / scale, zero, grid.levels) - zero) * scale - w;
      error += difference * difference * (importance[first + i] as number);
    }
    if (step === 0 || error < bestError) {
      bestError = error;
      bestScale = scale;
      bestZero = zero;
    }
  }
  const at = row * Math.ceil(columns / groupSize) + group;
  problem.scales[at] = bestScale;
  problem.zeros[at] = bestZero;
}

function scaleOf(low: number, high: number, grid: CodeGrid): number {
  const scale = float16Scale((high - low) / grid.levels);
  if (grid.symmetric || roundSmall(-low / scale) >= grid.minimumZero) return scale;
  // The zero point has to move up, which costs codes at the top: stretch the rest over the range.
  return float16Scale(high / (grid.levels - grid.minimumZero));
}

function zeroOf(low: number, scale: number, grid: CodeGrid, shift: number): number {
  if (grid.symmetric) return (grid.levels + 1) / 2;
  return Math.min(grid.levels, Math.max(grid.minimumZero, roundSmall(-low / scale) + shift));
}

function float16Scale(scale: number): number {
  return Math.max(SMALLEST_SCALE, roundToFloat16(scale));
}
