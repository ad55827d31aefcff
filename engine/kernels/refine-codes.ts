import { nearestCode } from './code-grid';
import type { RefinementState } from './refine';

/** Columns of a group whose moves are applied together; their rows of H serve all rows of weights from the second-level cache. */
const BATCH = 64;

/** Moves that are applied in one pass over G and P. */
const FUSED = 4;

/**
 * Column after column the code that is best for the scales and all other codes: the weight moves by `G_c / H_cc` and is rounded.
 * Few codes move, and only those cost more than a look.
 */
export function refineCodes(state: RefinementState): void {
  const { rows, columns, groupSize, groups, settled } = state;
  const near = new Float64Array(BATCH);
  const moved = new Int32Array(BATCH + FUSED);
  const moves = new Float64Array(BATCH + FUSED);
  for (let group = 0; group < groups; group++) {
    const end = Math.min((group + 1) * groupSize, columns);
    for (let start = group * groupSize; start < end; start += BATCH) {
      const stop = Math.min(start + BATCH, end);
      for (let row = 0; row < rows; row++) {
        if (settled[row]) continue;
        const count = moveCodes(state, row, group, start, stop, near, moved, moves);
        if (count > 0) applyMoves(state, row, group, count, moved, moves);
      }
    }
  }
}

/** @returns how many codes moved; which and by how many steps is in `moved` and `moves`. */
function moveCodes(
  state: RefinementState,
  row: number,
  group: number,
  start: number,
  stop: number,
  near: Float64Array,
  moved: Int32Array,
  moves: Float64Array,
): number {
  const { columns, groups, hessian, scales, zeros, steps, gradient } = state;
  const { levels } = state.grid;
  const offset = row * columns;
  const scale = scales[row * groups + group] as number;
  const zero = zeros[row * groups + group] as number;
  for (let i = start; i < stop; i++) near[i - start] = gradient[offset + i] as number;
  let count = 0;
  for (let column = start; column < stop; column++) {
    const h = column * columns;
    const curvature = hessian[h + column] as number;
    if (!(curvature > 0)) continue;
    const step = steps[offset + column] as number;
    const target = step * scale + (near[column - start] as number) / curvature;
    const better = nearestCode(target / scale, zero, levels) - zero;
    if (better === step) continue;
    steps[offset + column] = better;
    moved[count] = column;
    moves[count] = better - step;
    count += 1;
    const change = (better - step) * scale;
    for (let i = column + 1; i < stop; i++) {
      near[i - start] = (near[i - start] as number) - change * (hessian[h + i] as number);
    }
  }
  return count;
}

/** `P -= m H[moved, :]` and `G -= s m H[moved, :]`, four rows of H at a time; the arrays have room for four more. */
export function applyMoves(
  state: RefinementState,
  row: number,
  group: number,
  count: number,
  moved: Int32Array,
  moves: Float64Array,
): void {
  const { columns, groups, hessian, scales, gradient, projections } = state;
  const scale = scales[row * groups + group] as number;
  const g = row * columns;
  const p = (row * groups + group) * columns;
  // The last pass is filled up with moves by nothing.
  for (let k = count; k < count + FUSED; k++) {
    moved[k] = moved[0] as number;
    moves[k] = 0;
  }
  for (let k = 0; k < count; k += FUSED) {
    const h0 = (moved[k] as number) * columns;
    const h1 = (moved[k + 1] as number) * columns;
    const h2 = (moved[k + 2] as number) * columns;
    const h3 = (moved[k + 3] as number) * columns;
    const m0 = moves[k] as number;
    const m1 = moves[k + 1] as number;
    const m2 = moves[k + 2] as number;
    const m3 = moves[k + 3] as number;
    for (let i = 0; i < columns; i++) {
      const x =
        m0 * (hessian[h0 + i] as number) +
        m1 * (hessian[h1 + i] as number) +
        m2 * (hessian[h2 + i] as number) +
        m3 * (hessian[h3 + i] as number);
      gradient[g + i] = (gradient[g + i] as number) - scale * x;
      projections[p + i] = (projections[p + i] as number) - x;
    }
  }
}
