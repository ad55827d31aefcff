import { roundToFloat16 } from '../numbers/float16';
import { SMALLEST_SCALE } from './code-grid';
import type { RefinementState } from './refine';

/**
 * Group after group (Gauss-Seidel) the scale that is best for the codes and all other scales. With t the group's part of T:
 * `δs = G tᵀ / (t H tᵀ)`. The error is a parabola in s, so the float16 next to its lowest point is the best float16.
 */
export function refineScales(state: RefinementState): void {
  const { rows, columns, groupSize, groups, scales, steps, gradient, projections, settled } = state;
  for (let row = 0; row < rows; row++) {
    if (settled[row]) continue;
    const offset = row * columns;
    for (let group = 0; group < groups; group++) {
      const first = group * groupSize;
      const last = Math.min(first + groupSize, columns);
      const p = (row * groups + group) * columns;
      let curvature = 0;
      let slope = 0;
      for (let i = first; i < last; i++) {
        const step = steps[offset + i] as number;
        curvature -= (projections[p + i] as number) * step;
        slope += (gradient[offset + i] as number) * step;
      }
      if (!(curvature > 0)) continue;
      const scale = scales[row * groups + group] as number;
      const better = roundToFloat16(scale + slope / curvature);
      if (better < SMALLEST_SCALE || better === Number.POSITIVE_INFINITY || better === scale) continue;
      scales[row * groups + group] = better;
      const change = better - scale;
      for (let i = 0; i < columns; i++) {
        gradient[offset + i] = (gradient[offset + i] as number) + change * (projections[p + i] as number);
      }
    }
  }
}
