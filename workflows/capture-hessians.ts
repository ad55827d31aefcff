import type { ActivationRefs, BlockOutline, MergeInput } from '../activities';
import type { ArtifactRef } from '../engine/spec';
import { activationsOf, gramsOf, type LayerHands, magnitudesOf, type QuantizedRefs } from './layer-hands';

export type MagnitudesByStage = Readonly<Record<string, readonly ArtifactRef[]>>;

/** What a layer looks like from its own original weights. */
export interface CapturedLayer<Hessian> {
  /** By stage. */
  readonly hessians: Readonly<Record<string, Hessian>>;
  /** Documents, by stage, then by slice: the largest magnitude of each captured input, where it is needed. */
  readonly magnitudes: MagnitudesByStage;
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
  const magnitudes: Record<string, readonly ArtifactRef[]> = {};
  for (const [position, { name, linears, calibrated, ...stage }] of block.stages.entries()) {
    const wanted = linears > 0 && calibrated;
    const results = await hands.runStage(name, activations, {
      quantized: position === 0 ? applied : {},
      gram: wanted,
      ...(stage.magnitudes && { magnitudes: true }),
    });
    if (stage.magnitudes) magnitudes[name] = magnitudesOf(results);
    activations = activationsOf(results);
    if (position === 0) afterFirstStage = activations;
    if (linears === 0) continue;
    const hessian = hessianOf(name, wanted ? gramsOf(results) : null).then((value) => [name, value] as const);
    // Should a later stage fail first, that is what is reported.
    hessian.catch(() => undefined);
    underWay.push(hessian);
  }
  return { hessians: Object.fromEntries(await Promise.all(underWay)), magnitudes, afterFirstStage, activations };
}
