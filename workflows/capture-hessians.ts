import type { ActivationRefs, BlockOutline } from '../activities';
import type { ArtifactRef } from '../engine/spec';
import { activationsOf, type LayerHands, type QuantizedRefs } from './layer-hands';

/** What a layer looks like from its own original weights. */
export interface CapturedLayer {
  /** By stage. */
  readonly hessians: Readonly<Record<string, ArtifactRef>>;
  /** By slice: behind the first stage, which applies nothing of this layer. */
  readonly afterFirstStage: readonly ActivationRefs[];
  /** By slice: behind the last stage. */
  readonly activations: readonly ActivationRefs[];
}

/** Runs a whole layer with its original weights and sums the Hessian of every captured input. */
export async function captureHessians(
  hands: LayerHands,
  block: BlockOutline,
  slices: readonly ActivationRefs[],
  applied: QuantizedRefs,
): Promise<CapturedLayer> {
  const hessians: Record<string, ArtifactRef> = {};
  let activations = slices;
  let afterFirstStage = slices;
  for (const [position, { name, linears, calibrated }] of block.stages.entries()) {
    const wanted = linears > 0 && calibrated;
    const results = await hands.runStage(name, activations, position === 0 ? applied : {}, wanted);
    activations = activationsOf(results);
    if (position === 0) afterFirstStage = activations;
    if (wanted) hessians[name] = await hands.mergeHessian(name, results);
  }
  return { hessians, afterFirstStage, activations };
}
