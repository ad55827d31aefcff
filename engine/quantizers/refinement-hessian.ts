import type { SharedProblem, SolvableHessian } from './row-block';

export interface RefinementHessian {
  /** `[columns, columns]`. */
  readonly hessian: Float64Array;
  /** What its diagonal has more than the given one: the errors under it are so much times `‖ΔW‖²` larger. */
  readonly added: number;
}

/**
 * The Hessian that codes and scales are refined with: with the recipe's refinementDamping, H + share · mean(diag H) · I. The calibration
 * says less of directions in which inputs hardly vary than H does.
 */
export function refinementHessian(
  { recipe: { refinementDamping = 0 }, columns }: SharedProblem,
  { hessian, dead }: SolvableHessian,
): RefinementHessian {
  if (refinementDamping === 0) return { hessian, added: 0 };
  let trace = 0;
  let live = 0;
  for (let i = 0; i < columns; i++) {
    // Dead columns carry a made-up 1.
    if (dead[i]) continue;
    trace += hessian[i * columns + i] as number;
    live += 1;
  }
  const added = (refinementDamping * trace) / live;
  const damped = hessian.slice();
  for (let i = 0; i < columns; i++) damped[i * columns + i] = (damped[i * columns + i] as number) + added;
  return { hessian: damped, added };
}
