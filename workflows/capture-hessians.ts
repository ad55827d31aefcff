import type { ActivationRefs, BlockOutline, MergeInput } from '../activities';
import { activationsOf, gramsOf, type LayerHands, type QuantizedRefs } from './layer-hands';

/** What a layer looks like from its own original weights. */
export interface CapturedLayer<Hessian> {
  /** By stage. */
  readonly hessians: Readonly<Record<string, Hessian>>;
  /** By slice: behind the first stage, which applies nothing of this layer. */
  readonly afterFirstStage: readonly ActivationRefs[];
  /** By slice: behind the last stage. */
  readonly activations: readonly ActivationRefs[];
}

/**
 * Runs a whole layer with its original weights. What `hessianOf` makes of a stage's sums (null where its linears need none) goes on
 * while the next stage runs.
 */
export async function captureHessians<Hessian>(
  hands: LayerHands,
  block: BlockOutline,
  slices: readonly ActivationRefs[],
  applied: QuantizedRefs,
  hessianOf: (stage: string, grams: MergeInput | null) => Promise<Hessian>,
): Promise<CapturedLayer<Hessian>> {
  const underWay: Promise<readonly [string, Hessian]>[] = [];
  let activations = slices;
  let afterFirstStage = slices;
  for (const [position, { name, linears, calibrated }] of block.stages.entries()) {
    const wanted = linears > 0 && calibrated;
    const results = await hands.runStage(name, activations, {
      quantized: position === 0 ? applied : {},
      gram: wanted,
    });
    activations = activationsOf(results);
    if (position === 0) afterFirstStage = activations;
    if (linears === 0) continue;
    const hessian = hessianOf(name, wanted ? gramsOf(results) : null).then((value) => [name, value] as const);
    // Should a later stage fail first, that is what is reported.
    hessian.catch(() => undefined);
    underWay.push(hessian);
  }
  return { hessians: Object.fromEntries(await Promise.all(underWay)), afterFirstStage, activations };
}
