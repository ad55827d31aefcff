import type { ActivationRefs, BlockOutline } from '../activities';
import type { ArtifactRef } from '../engine/spec';
import { onCpu } from './activity-proxies';
import { captureHessians } from './capture-hessians';
import { layerHands } from './layer-hands';

export interface CalibratedLayer {
  /** By stage. */
  readonly hessians: Readonly<Record<string, ArtifactRef>>;
  /** By slice: what the next layer starts from. */
  readonly activations: readonly ActivationRefs[];
  readonly computed: number;
  readonly cached: number;
  readonly secondsSaved: number;
}

/** Order `independent`: the Hessians of one layer of the original model. Its solve is free to run anywhere, at any time after. */
export async function calibrateLayer(input: {
  readonly plan: ArtifactRef;
  readonly table: ArtifactRef;
  readonly block: BlockOutline;
  readonly activations: readonly ActivationRefs[];
  readonly retired: readonly string[];
}): Promise<CalibratedLayer> {
  const hands = layerHands(input);
  const { hessians, activations } = await captureHessians(
    hands,
    input.block,
    input.activations,
    {},
    hands.mergeHessian,
  );
  const retired = [...input.retired, ...hands.ledger.intermediates([...input.activations, ...activations])];
  if (retired.length > 0) {
    await onCpu(`${input.block.name} · drop activations`).dropActivations({ sha256s: retired });
  }
  const { computed, cached, secondsSaved } = hands.ledger.totals();
  return { hessians, activations, computed, cached, secondsSaved };
}
