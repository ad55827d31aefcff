import { capturedInputs } from '../models';
import type { ModelShape, Stage } from '../models/architecture';
import { shareOfTokens, total } from './work-to-do';

/** Floating-point operations per token of the linears that a stage applies, and of attention (the causal half). */
export function forwardOperations(
  stage: Stage,
  calibrating: Stage,
  { shape, sequenceLength }: { readonly shape: ModelShape; readonly sequenceLength: number },
): number {
  const linears = total(
    stage.applies.map((linear) => 2 * linear.rows * linear.columns * shareOfTokens(linear, calibrating, shape)),
  );
  return linears + (stage.name === 'attention' ? 2 * shape.heads * shape.headSize * sequenceLength : 0);
}

/** Of XᵀX per token of all inputs that a stage captures, in multiplications: half of them are done, so that is operations too. */
export function gramMultiplications(calibrating: Stage, shape: ModelShape): number {
  return total(
    capturedInputs(calibrating).map(
      ({ columns, expert }) => columns ** 2 * shareOfTokens({ expert: expert ?? undefined }, calibrating, shape),
    ),
  );
}
