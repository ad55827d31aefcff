import type { ActivationRefs, BlockOutline } from '../activities';
import type { ArtifactRef } from '../engine/spec';
import { layerHands } from './layer-hands';

/** The original model behind the stages of a layer. */
export interface OriginalLayer {
  /** By stage, of this layer or the next one's first, then by slice of those that are passed: the hidden state. */
  readonly behind: Readonly<Record<string, readonly ArtifactRef[]>>;
  /** By slice: behind the next layer's first stage. */
  readonly activations: readonly ActivationRefs[];
  readonly computed: number;
  readonly cached: number;
  readonly secondsSaved: number;
}

/** Takes the original model through one layer, ahead of the one that is being quantized. */
export async function passOriginalLayer(input: {
  readonly plan: ArtifactRef;
  readonly table: ArtifactRef;
  readonly block: BlockOutline;
  /** By slice: behind the layer's first stage. */
  readonly activations: readonly ActivationRefs[];
}): Promise<OriginalLayer> {
  const hands = layerHands(input);
  const slices = await hands.passOriginal(input.activations);
  const stages = Object.keys(slices[0]?.behind ?? {});
  const behind = stages.map((stage) => [stage, slices.map((slice) => slice.behind[stage] as ArtifactRef)]);
  const { computed, cached, secondsSaved } = hands.ledger.totals();
  const activations = slices.map((slice) => slice.activations);
  return { behind: Object.fromEntries(behind), activations, computed, cached, secondsSaved };
}
